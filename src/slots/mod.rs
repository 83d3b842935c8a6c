//! The slots of processors: which worker has which streams.

pub(crate) mod slot;
