//! Read models that are updated in the transaction of the append.

mod handled_types;
mod inline_projections;
mod missed;
mod several_enums;
mod upcasting;
