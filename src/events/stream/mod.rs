//! Streams: append, read, exists, metadata, archive. Owns the statements on one partition's `emt_streams` and `emt_messages`.

mod append;
mod append_options;
mod instances;
mod name;
mod read;
mod read_options;
mod read_together;
mod row;
mod stored;
mod stream_read;
mod versions;

pub(crate) use append::{append, append_to_streams, append_under_key};
pub use append_options::{AppendOptions, StreamMessages};
pub(crate) use instances::{InstanceStream, instances};
pub(crate) use name::{check_stream_name, stream_type};
pub(crate) use read::{MessageRow, read, read_page};
pub use read_options::ReadOptions;
pub(crate) use read_together::{Boundary, Outcome, ReadTogether, Receiver, read_together};
pub(crate) use row::{move_stream, set_metadata, version};
pub use stored::Appended;
pub(crate) use stored::{InlineVersions, Stored, StreamAppend};
pub use stream_read::{Aggregate, StreamIter, StreamRead};
