//! Field numbers of the messages that we show, as data: from Kubernetes' `generated.proto` files, and when a field is
//! shown from the `json` tags of its Go types.

mod tables;

pub(crate) use tables::{OBJECT_META, table_of};

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Type {
    Text,
    Bytes,
    Integer,
    Bool,
    Time,
    MicroTime,
    TextMap,
    IntOrString,
    /// A message with JSON in its first field.
    Json,
    Message(&'static [Field]),
    /// A message whose fields lie beside the others in JSON.
    Inline(&'static [Field]),
}

/// When a field is in the JSON form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// `omitempty`, and no pointer: not if it is zero.
    NotEmpty,
    /// A pointer, or a message: whenever it was written.
    Present,
    /// No `omitempty`.
    Always,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) number: u32,
    pub(crate) name: &'static str,
    pub(crate) of: Type,
    pub(crate) shown: Shown,
    pub(crate) repeated: bool,
}

impl Field {
    const fn new(number: u32, name: &'static str, of: Type) -> Field {
        let shown = match of {
            Type::Message(_) | Type::IntOrString | Type::Json => Shown::Present,
            _ => Shown::NotEmpty,
        };
        Field { number, name, of, shown, repeated: false }
    }

    const fn pointer(self) -> Field {
        Field { shown: Shown::Present, ..self }
    }

    const fn always(self) -> Field {
        Field { shown: Shown::Always, ..self }
    }

    const fn list(self) -> Field {
        Field { repeated: true, ..self }
    }
}

const fn text(number: u32, name: &'static str) -> Field {
    Field::new(number, name, Type::Text)
}

const fn integer(number: u32, name: &'static str) -> Field {
    Field::new(number, name, Type::Integer)
}

const fn boolean(number: u32, name: &'static str) -> Field {
    Field::new(number, name, Type::Bool)
}

const fn time(number: u32, name: &'static str) -> Field {
    Field::new(number, name, Type::Time)
}

const fn map(number: u32, name: &'static str) -> Field {
    Field::new(number, name, Type::TextMap)
}

const fn inline(number: u32, table: &'static [Field]) -> Field {
    Field::new(number, "", Type::Inline(table))
}

const fn message(number: u32, name: &'static str, table: &'static [Field]) -> Field {
    Field::new(number, name, Type::Message(table))
}
