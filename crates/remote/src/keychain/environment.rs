//! What the process's environment says about credentials.

use std::ffi::OsString;
use std::path::PathBuf;

/// The variables that lead to credential files and helpers, read once so that nothing below looks at the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// `DOCKER_CONFIG`: the directory of docker's `config.json`.
    pub docker_config: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`: the directory below which podman logs in.
    pub xdg_runtime_dir: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`.
    pub xdg_config_home: Option<PathBuf>,
    /// `REGISTRY_AUTH_FILE`: podman's auth file, in place of all others of podman's.
    pub registry_auth_file: Option<PathBuf>,
    /// `PATH`: where helpers are looked for.
    pub path: Option<OsString>,
}

impl Environment {
    /// The environment of this process.
    #[must_use]
    pub fn from_env() -> Self {
        // An empty variable is one that is not set.
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let directory = |name| variable(name).map(PathBuf::from);
        Self {
            home: directory("HOME"),
            docker_config: directory("DOCKER_CONFIG"),
            xdg_runtime_dir: directory("XDG_RUNTIME_DIR"),
            xdg_config_home: directory("XDG_CONFIG_HOME"),
            registry_auth_file: directory("REGISTRY_AUTH_FILE"),
            path: variable("PATH"),
        }
    }

    /// Where docker's configuration is, whether or not the file exists.
    #[must_use]
    pub fn docker_config_file(&self) -> Option<PathBuf> {
        let directory = match &self.docker_config {
            Some(directory) => directory.clone(),
            None => self.home.as_ref()?.join(".docker"),
        };
        Some(directory.join("config.json"))
    }

    /// Where podman logs in by default: the first of these that knows a host decides.
    #[must_use]
    pub fn podman_auth_files(&self) -> Vec<PathBuf> {
        let config = self.xdg_config_home.clone().or_else(|| Some(self.home.as_ref()?.join(".config")));
        let directories = [self.xdg_runtime_dir.clone(), config];
        directories.into_iter().flatten().map(|directory| directory.join("containers/auth.json")).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn files_are_where_docker_and_podman_have_them() {
        let environment = Environment { home: Some("/home/u".into()), ..Environment::default() };
        assert_eq!(environment.docker_config_file().unwrap(), Path::new("/home/u/.docker/config.json"));
        assert_eq!(environment.podman_auth_files(), [Path::new("/home/u/.config/containers/auth.json")]);
        let environment = Environment {
            docker_config: Some("/dc".into()),
            xdg_runtime_dir: Some("/run/1".into()),
            xdg_config_home: Some("/xdg".into()),
            ..environment
        };
        assert_eq!(environment.docker_config_file().unwrap(), Path::new("/dc/config.json"));
        assert_eq!(
            environment.podman_auth_files(),
            [Path::new("/run/1/containers/auth.json"), Path::new("/xdg/containers/auth.json")]
        );
        assert_eq!(Environment::default().docker_config_file(), None);
    }
}
