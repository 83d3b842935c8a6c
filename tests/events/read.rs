//! Reading streams: in part, folded, page by page, during appends, and with gaps.

mod aggregate;
mod gaps;
mod growing;
mod iterator;
mod model;
mod stream;
