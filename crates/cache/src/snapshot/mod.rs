//! Snapshots: the unpacked diff of each layer, kept by snapshotters.
