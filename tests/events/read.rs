//! Reading streams: parts of them, folded, page by page, while they change, and with gaps.

mod aggregate;
mod gaps;
mod growing;
mod iterator;
mod model;
mod stream;
