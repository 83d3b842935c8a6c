//! What each part of the missed list is for.
