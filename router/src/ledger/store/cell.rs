//! What stands in a place of a statement, and in a column of a row.

use bytes::{BufMut, BytesMut};
use rusqlite::types::{ToSqlOutput, ValueRef};
use std::error::Error;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

/// A value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::ledger) enum Cell<'a> {
    Null,
    Int(i64),
    Real(f64),
    Text(&'a str),
    Blob(&'a [u8]),
}

/// Values of a statement, in order.
macro_rules! cells {
    ($($value:expr),* $(,)?) => { &[$($crate::ledger::store::Cell::from($value)),*][..] };
}
pub(in crate::ledger) use cells;

// === impl Cell ===

impl<'a, T: Into<Cell<'a>>> From<Option<T>> for Cell<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl From<i64> for Cell<'_> {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<u64> for Cell<'_> {
    /// What does not fit is as much as fits: 9.2 billion dollars in nano-dollars.
    fn from(number: u64) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u32> for Cell<'_> {
    fn from(number: u32) -> Self {
        Self::Int(number.into())
    }
}

impl From<u16> for Cell<'_> {
    fn from(number: u16) -> Self {
        Self::Int(number.into())
    }
}

impl From<bool> for Cell<'_> {
    fn from(yes: bool) -> Self {
        Self::Int(yes.into())
    }
}

impl From<f64> for Cell<'_> {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

impl From<f32> for Cell<'_> {
    fn from(number: f32) -> Self {
        Self::Real(number.into())
    }
}

impl<'a> From<&'a str> for Cell<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a String> for Cell<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a [u8]> for Cell<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Blob(bytes)
    }
}

impl<'a> From<&'a Vec<u8>> for Cell<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Self::Blob(bytes)
    }
}

impl<'a> From<&'a [u8; 32]> for Cell<'a> {
    fn from(bytes: &'a [u8; 32]) -> Self {
        Self::Blob(bytes)
    }
}

impl rusqlite::ToSql for Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match *self {
            Self::Null => ValueRef::Null,
            Self::Int(number) => ValueRef::Integer(number),
            Self::Real(number) => ValueRef::Real(number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl ToSql for Cell<'_> {
    fn to_sql(&self, to: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match *self {
            Self::Null => return Ok(IsNull::Yes),
            Self::Int(number) if *to == Type::INT8 => out.put_i64(number),
            Self::Real(number) if *to == Type::FLOAT8 => out.put_f64(number),
            // PostgreSQL has no text with a zero byte in it, and one client's text must not stop everybody's lines.
            Self::Text(text) if *to == Type::TEXT && text.contains('\0') => {
                out.put_slice(text.replace('\0', "\u{fffd}").as_bytes());
            }
            Self::Text(text) if *to == Type::TEXT => out.put_slice(text.as_bytes()),
            Self::Blob(bytes) if *to == Type::BYTEA => out.put_slice(bytes),
            Self::Int(_) | Self::Real(_) | Self::Text(_) | Self::Blob(_) => {
                return Err(format!("{self:?} for a place of type {to}").into());
            }
        }
        Ok(IsNull::No)
    }

    fn accepts(to: &Type) -> bool {
        matches!(*to, Type::INT8 | Type::FLOAT8 | Type::TEXT | Type::BYTEA)
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Cell<'a> {
    fn from_sql(from: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(match *from {
            Type::BOOL => Self::Int(bool::from_sql(from, raw)?.into()),
            Type::INT4 => Self::Int(i32::from_sql(from, raw)?.into()),
            Type::INT8 => Self::Int(i64::from_sql(from, raw)?),
            Type::FLOAT8 => Self::Real(f64::from_sql(from, raw)?),
            Type::BYTEA => Self::Blob(raw),
            _ => Self::Text(<&str>::from_sql(from, raw)?),
        })
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self::Null)
    }

    fn accepts(from: &Type) -> bool {
        matches!(*from, Type::BOOL | Type::INT4 | Type::INT8 | Type::FLOAT8 | Type::BYTEA)
            || <&str as FromSql>::accepts(from)
    }
}

/// What a column is read as; `None`: it holds something else.
pub(in crate::ledger) trait FromCell: Sized {
    fn from_cell(cell: Cell<'_>) -> Option<Self>;
}

/// Whole numbers of a size.
macro_rules! whole {
    ($($number:ty),*) => {$(
        impl FromCell for $number {
            fn from_cell(cell: Cell<'_>) -> Option<Self> {
                if let Cell::Int(number) = cell { Self::try_from(number).ok() } else { None }
            }
        }
    )*};
}
whole!(i64, u64, u32, u16);

impl FromCell for bool {
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        if let Cell::Int(number) = cell { Some(number != 0) } else { None }
    }
}

impl FromCell for f64 {
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        match cell {
            Cell::Real(number) => Some(number),
            Cell::Int(number) => Some(number as Self),
            Cell::Null | Cell::Text(_) | Cell::Blob(_) => None,
        }
    }
}

impl FromCell for f32 {
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        f64::from_cell(cell).map(|number| number as Self)
    }
}

impl FromCell for String {
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        if let Cell::Text(text) = cell { Some(text.to_owned()) } else { None }
    }
}

impl FromCell for Vec<u8> {
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        if let Cell::Blob(bytes) = cell { Some(bytes.to_vec()) } else { None }
    }
}

impl FromCell for [u8; 32] {
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        if let Cell::Blob(bytes) = cell { bytes.try_into().ok() } else { None }
    }
}

impl<T: FromCell> FromCell for Option<T> {
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        if cell == Cell::Null { Some(None) } else { T::from_cell(cell).map(Some) }
    }
}
