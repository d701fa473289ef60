//! Referrers of a manifest: the API, and the fallback tag where a registry has none (distribution-spec "Listing
//! Referrers", "Referrers Tag Schema").

use bytes::Bytes;
use oci_spec::image::{Descriptor, Digest};
use serde_json::{Value, json};

use super::Repository;
use crate::endpoint::Name;
use crate::error::{Error, Result, What};
use crate::manifest::{Manifest, lenient};
use crate::media;
use crate::request::Kind;

/// The tag that lists the referrers of `digest` where there is no API: `ALGORITHM-HEX`, cut to a tag's length.
#[must_use]
pub fn fallback_tag(digest: &Digest) -> String {
    let algorithm: String = digest.algorithm().as_ref().chars().take(32).collect();
    let hex: String = digest.digest().chars().take(64).collect();
    format!("{algorithm}-{hex}")
}

impl Repository {
    /// Descriptors of the manifests that refer to `subject`; empty where there are none.
    ///
    /// # Errors
    /// Those of the way; that there is no API is not an error.
    pub async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let facts = self.facts();
        if !facts.lacks_referrers() {
            let what = What::new("list referrers", format_args!("{}@{subject}", self.name));
            match self.pages::<Value>(Kind::Referrers, &what, &format!("referrers/{subject}")).await {
                Ok(pages) => return Ok(pages.iter().flat_map(descriptors).collect()),
                Err(Error::NotFound { .. }) => facts.set_lacks_referrers(),
                // Registries that do not know the path answer in many ways; the tag tells.
                Err(Error::Rejected { reason, .. } | Error::Invalid { reason, .. }) => {
                    tracing::debug!(reason, "no referrers API");
                    facts.set_lacks_referrers();
                }
                Err(other) => return Err(other),
            }
        }
        // Most have none, and that should not cost a GET, which some hosts meter.
        let tag = Name::Tag(fallback_tag(subject));
        match self.head_manifest(&tag).await {
            Ok(_) => {}
            Err(Error::NotFound { .. }) => return Ok(Vec::new()),
            Err(other) => return Err(other),
        }
        let index = found(self.get_manifest(&tag).await)?;
        Ok(index.map(|index| descriptors(&index).collect()).unwrap_or_default())
    }

    /// Adds `manifest` to the fallback tag of its subject, for a registry that has not taken note of the subject itself.
    /// The tag is read and written, so that two writers at once may lose one entry; the specification has no better way.
    ///
    /// # Errors
    /// Those of the way.
    pub async fn note_referrer(&self, manifest: &Manifest) -> Result<()> {
        let Some(subject) = manifest.subject() else { return Ok(()) };
        let tag = fallback_tag(subject.digest());
        let facts = self.facts();
        // Two manifests of one image may have the same subject; this async lock is what keeps both in the list.
        let _turn = facts.referrers_turn().lock().await;
        let mut index = found(self.upstream_manifest(&Name::Tag(tag.clone())).await)?
            .unwrap_or_else(|| json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": []}));
        if descriptors(&index).any(|entry| entry.digest() == manifest.digest()) {
            return Ok(());
        }
        let Some(entries) = index.get_mut("manifests").and_then(Value::as_array_mut) else {
            // distribution-spec "Referrers Tag Schema": to be reported, and left as it is.
            let text =
                format!("{}:{tag} is no index, so that {} is not listed there", self.name, manifest.digest());
            self.access.progress.note(&text);
            return Ok(());
        };
        let mut entry = json!({
            "mediaType": manifest.media_type(),
            "digest": manifest.digest(),
            "size": manifest.bytes().len(),
        });
        if let Some(kind) = manifest.artifact_type() {
            entry["artifactType"] = json!(kind);
        }
        if let Some(annotations) = manifest.annotations() {
            entry["annotations"] = Value::Object(annotations.clone());
        }
        entries.push(entry);
        let bytes = Bytes::from(index.to_string());
        let index = Manifest::parse(bytes, Some(media::OCI_INDEX), None, &format!("{}:{tag}", self.name))?;
        self.put_manifest(&index, &Name::Tag(tag)).await?;
        Ok(())
    }
}

/// The fields of a fallback tag's manifest, or that there is none.
fn found(manifest: Result<Manifest>) -> Result<Option<Value>> {
    match manifest {
        Ok(index) => Ok(serde_json::from_slice(index.bytes()).ok()),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(other) => Err(other),
    }
}

fn descriptors(index: &Value) -> impl Iterator<Item = Descriptor> {
    let entries = index.get("manifests").and_then(Value::as_array);
    entries.into_iter().flatten().filter_map(|entry| lenient(entry.clone()).ok())
}
