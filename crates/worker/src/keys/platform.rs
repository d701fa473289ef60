//! The part about the platform that keys of commands and images share.

use super::json::Object;
use crate::llb::pb::Platform;

/// OS and architecture always; the rest where there is one.
pub(super) fn write(object: &mut Object, platform: &Platform) {
    object.always("OS", &platform.os);
    object.always("Arch", &platform.architecture);
    object.text("Variant", &platform.variant);
    object.text("OSVersion", &platform.os_version);
    object.texts("OSFeatures", &platform.os_features);
}
