//! What a solver computes.

/// A result of an op: a handle, cheap to clone; dropping the last clone releases what it holds.
///
/// The solver never looks inside. It moves results from ops to ops, to stores and to exporters.
pub trait Value: Clone + Send + Sync + 'static {
    /// A result in the form that can be given away: for container layers descriptors and a way to their bytes.
    type Remote: Clone + Send + Sync + 'static;
}

macro_rules! plain_values {
    ($($value:ty),*) => {$(
        impl Value for $value {
            type Remote = $value;
        }
    )*};
}

// Values that are their own remote form: what engines without bytes, and tests, compute.
plain_values!((), bool, i64, u64, String);
