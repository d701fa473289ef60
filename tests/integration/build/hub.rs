//! Registries that are asked afterwards what they were asked.

use lazyblob::remote::testing::{Image, TestRegistry, installed};
use serde_json::Value;

use crate::support::{Answered, Desk, DockerRegistry, Written, ask, get};

/// A registry whose requests are known afterwards: the one for tests, or Debian's by its access log.
pub(super) enum Hub {
    Counting(TestRegistry),
    Debian(Box<DockerRegistry>),
}

impl Hub {
    /// The one for tests, and Debian's where it is installed.
    pub(super) async fn all(test: &str) -> Vec<Self> {
        let mut all = vec![Self::Counting(TestRegistry::start().await)];
        if installed(test, &["docker-registry"]) {
            all.push(Self::Debian(Box::new(DockerRegistry::open().await)));
        }
        all
    }

    /// The one for tests alone.
    pub(super) async fn counting() -> Self {
        Self::Counting(TestRegistry::start().await)
    }

    pub(super) fn host(&self) -> &str {
        match self {
            Self::Counting(registry) => registry.host(),
            Self::Debian(registry) => registry.host(),
        }
    }

    /// Has this image under `NAME:TAG`, whose full name it returns. What that takes is not counted.
    pub(super) async fn seed(&self, repository: &str, tag: &str, image: &Image) -> String {
        let name = format!("{}/{repository}:{tag}", self.host());
        match self {
            Self::Counting(registry) => registry.seed(repository, tag, image).await,
            Self::Debian(_) => {
                // A desk of its own: the cache of the test is to know nothing of it.
                let desk = Desk::new();
                Written::at(&desk, "seed").image("1", image);
                desk.ok(&format!("copy {}:1 {name}", desk.at("oci", "seed"))).await;
            }
        }
        self.asked().await;
        name
    }

    /// `METHOD TARGET STATUS` of everything asked for since this was called last.
    pub(super) async fn asked(&self) -> Vec<String> {
        match self {
            Self::Counting(registry) => {
                let lines = registry.lines();
                registry.reset();
                lines
            }
            Self::Debian(registry) => {
                let line = |one: Answered| format!("{} {} {}", one.method, one.path, one.status);
                registry.answered().await.into_iter().map(line).collect()
            }
        }
    }

    /// Removes `REPOSITORY/manifests/…` or `REPOSITORY/blobs/…`.
    pub(super) async fn delete(&self, path: &str) {
        let answer = ask("DELETE", self.host(), &format!("/v2/{path}")).await;
        assert!(answer.starts_with("HTTP/1.1 202"), "{path}: {answer}");
        self.asked().await;
    }

    /// The status of a manifest or a blob. Not counted.
    pub(super) async fn status(&self, path: &str) -> u16 {
        let answer = get(self.host(), &format!("/v2/{path}")).await;
        self.asked().await;
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// A manifest or a config. Not counted.
    pub(super) async fn json(&self, path: &str) -> Value {
        let answer = get(self.host(), &format!("/v2/{path}")).await;
        self.asked().await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{path}: {error}: {answer}"))
    }
}
