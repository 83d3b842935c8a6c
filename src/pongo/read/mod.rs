//! Reading documents.

mod cursor;
mod find;
mod page;

pub use cursor::Cursor;
pub use find::Find;
pub use page::Page;
