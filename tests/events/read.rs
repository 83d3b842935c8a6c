//! Reading streams: parts of them, folded, page by page, and while they change.

mod aggregate;
mod growing;
mod iterator;
mod model;
mod stream;
