//! Values of a TOML file, each with its key and its place, for errors.

use std::ops::{Range, RangeInclusive};

use kernlab_kernels::{Document, DocumentError};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::suite::spelling::{one_of, unknown};

/// A value, the key that leads to it, and where it is.
#[derive(Clone)]
pub(super) struct Field<'d> {
    document: &'d Document,
    /// `suite.guest.cpus`.
    pub(super) key: String,
    /// Where the last part of the key is.
    key_span: Range<usize>,
    span: Range<usize>,
    value: DeValue<'d>,
}

/// The fields of a table.
pub(super) struct Table<'d> {
    document: &'d Document,
    key: String,
    span: Range<usize>,
    fields: Vec<(String, Field<'d>)>,
}

impl<'d> Table<'d> {
    /// Reads a whole file, whose keys must be among the known.
    pub(super) fn of_file(
        document: &'d Document,
        text: &'d str,
        known: &[&str],
    ) -> Result<Self, DocumentError> {
        let table = DeTable::parse(text).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            let mut message = error.message().trim_end().replace('\n', ": ");
            if let ("duplicate key", Some(key)) = (&*message, text.get(span.clone())) {
                message += &format!(" `{key}`");
            }
            document.invalid(span, message)
        })?;
        let table = Table::of(document, String::new(), 0..0, table.into_inner());
        table.check_keys(known)?;
        Ok(table)
    }

    fn of(document: &'d Document, key: String, span: Range<usize>, table: DeTable<'d>) -> Self {
        let mut fields: Vec<(String, Range<usize>, Spanned<DeValue<'d>>)> = table
            .into_iter()
            .map(|(name, value)| (name.get_ref().to_string(), name.span(), value))
            .collect();
        fields.sort_by_key(|(_, span, _)| span.start);
        let fields = fields.into_iter().map(|(name, key_span, value)| {
            let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
            let span = value.span();
            let field = Field { document, key, key_span, span, value: value.into_inner() };
            (name, field)
        });
        let fields = fields.collect();
        Table { document, key, span, fields }
    }

    fn check_keys(&self, known: &[&str]) -> Result<(), DocumentError> {
        match self.fields.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some((name, field)) => {
                let message = labelled(&self.key, &unknown("key", name, known));
                Err(self.document.invalid(field.key_span.clone(), message))
            }
        }
    }

    /// The field of a name, which is then gone.
    pub(super) fn take(&mut self, name: &str) -> Option<Field<'d>> {
        let at = self.fields.iter().position(|(other, _)| other == name)?;
        Some(self.fields.remove(at).1)
    }

    /// Reads the field of a name, if there is one.
    pub(super) fn read<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(Field<'d>) -> Result<T, DocumentError>,
    ) -> Result<Option<T>, DocumentError> {
        self.take(name).map(read).transpose()
    }

    /// Reads the field of a name that must be there.
    pub(super) fn need<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(Field<'d>) -> Result<T, DocumentError>,
    ) -> Result<T, DocumentError> {
        match self.take(name) {
            Some(field) => read(field),
            None => Err(self.invalid(format!("`{name}` is missing"))),
        }
    }

    /// The one field of a table that has exactly one of several.
    pub(super) fn one_of(
        &mut self,
        names: &[&'static str],
    ) -> Result<(&'static str, Field<'d>), DocumentError> {
        let mut found: Vec<_> =
            names.iter().filter_map(|name| Some((*name, self.take(name)?))).collect();
        match found.len() {
            1 => Ok(found.remove(0)),
            0 => Err(self.invalid(format!("expected {}", one_of(names)))),
            _ => {
                let message = format!("`{}` is there already: expected one of them", found[0].0);
                Err(found[1].1.invalid(message))
            }
        }
    }

    /// Refuses a field, if it is there.
    pub(super) fn refuse(&self, name: &str, why: &str) -> Result<(), DocumentError> {
        match self.fields.iter().find(|(other, _)| other == name) {
            Some((_, field)) => {
                Err(self.document.invalid(field.key_span.clone(), labelled(&field.key, why)))
            }
            None => Ok(()),
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(other, _)| other == name)
    }

    /// All fields that are no tables, with the names on the way to them: `a.b`, because TOML reads a
    /// key with dots as tables.
    pub(super) fn flat(self) -> Vec<(String, Field<'d>)> {
        let mut flat = Vec::new();
        for (name, field) in self.fields {
            let Field { document, key, key_span, span, value } = field;
            match value {
                DeValue::Table(table) => {
                    let inner = Table::of(document, key, span, table).flat();
                    flat.extend(
                        inner.into_iter().map(|(rest, field)| (format!("{name}.{rest}"), field)),
                    );
                }
                value => flat.push((name, Field { document, key, key_span, span, value })),
            }
        }
        flat
    }

    /// An error about the table as a whole.
    pub(super) fn invalid(&self, message: impl AsRef<str>) -> DocumentError {
        self.document.invalid(self.span.clone(), labelled(&self.key, message.as_ref()))
    }
}

impl<'d> Field<'d> {
    /// An error about the value.
    pub(super) fn invalid(&self, message: impl AsRef<str>) -> DocumentError {
        self.document.invalid(self.span.clone(), labelled(&self.key, message.as_ref()))
    }

    fn unexpected(&self, expected: &str) -> DocumentError {
        let found = match &self.value {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.invalid(format!("expected {expected}, found {found}"))
    }

    /// A text that is not blank.
    pub(super) fn text(self) -> Result<String, DocumentError> {
        self.text_that_is("a text")
    }

    fn text_that_is(self, expected: &str) -> Result<String, DocumentError> {
        let text = self.any_text(expected)?;
        if text.trim().is_empty() {
            return Err(self.invalid(format!("expected {expected}, found an empty one")));
        }
        Ok(text)
    }

    /// A text that may be empty. C programs can't be given the character NUL.
    fn any_text(&self, expected: &str) -> Result<String, DocumentError> {
        match &self.value {
            DeValue::String(text) if text.contains('\0') => {
                Err(self.invalid("a string can't contain NUL"))
            }
            DeValue::String(text) => Ok(text.to_string()),
            _ => Err(self.unexpected(expected)),
        }
    }

    /// Reads a text further; the error of `read` becomes one with its place.
    pub(super) fn parse<T, E: ToString>(
        self,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, DocumentError> {
        let text = self.clone().text()?;
        read(&text).map_err(|error| self.invalid(error.to_string()))
    }

    /// A text that is one of some words.
    pub(super) fn word<T: Copy>(self, what: &str, words: &[(&str, T)]) -> Result<T, DocumentError> {
        self.parse(|text| match words.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Ok(*value),
            None => {
                let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                Err(unknown(what, text, &known))
            }
        })
    }

    /// A text, or an integer or boolean that stands for its text.
    pub(super) fn scalar(self) -> Result<String, DocumentError> {
        match &self.value {
            DeValue::Integer(_) => {
                self.integer(i64::MIN..=i64::MAX).map(|number| number.to_string())
            }
            DeValue::Boolean(value) => Ok(value.to_string()),
            _ => self.any_text("a text or an integer"),
        }
    }

    pub(super) fn integer(self, range: RangeInclusive<i64>) -> Result<i64, DocumentError> {
        let DeValue::Integer(integer) = &self.value else {
            return Err(self.unexpected("an integer"));
        };
        match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(value) if range.contains(&value) => Ok(value),
            _ if *range.end() == i64::MAX => {
                Err(self.invalid(format!("expected {} or more", range.start())))
            }
            _ => Err(self.invalid(format!("expected {} to {}", range.start(), range.end()))),
        }
    }

    /// An integer that is not negative.
    pub(super) fn count(self, range: RangeInclusive<u32>) -> Result<u32, DocumentError> {
        let range = i64::from(*range.start())..=i64::from(*range.end());
        let value = self.integer(range)?;
        Ok(u32::try_from(value).unwrap_or(u32::MAX))
    }

    pub(super) fn boolean(self) -> Result<bool, DocumentError> {
        match self.value {
            DeValue::Boolean(value) => Ok(value),
            _ => Err(self.unexpected("`true` or `false`")),
        }
    }

    pub(super) fn date(self) -> Result<jiff::civil::Date, DocumentError> {
        let expected = "a date without quotes, such as 2027-03-01";
        match &self.value {
            DeValue::Datetime(toml::value::Datetime {
                date: Some(date),
                time: None,
                offset: None,
            }) => {
                let (year, month, day) = (i16::try_from(date.year), date.month, date.day);
                // A byte is at most 12 or 31 here: TOML knows no others.
                let date = year.ok().and_then(|year| {
                    jiff::civil::Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?)
                        .ok()
                });
                date.ok_or_else(|| self.unexpected(expected))
            }
            _ => Err(self.unexpected(expected)),
        }
    }

    /// A list, each of whose items `read` reads.
    pub(super) fn list<T>(
        self,
        expected: &str,
        mut read: impl FnMut(Field<'d>) -> Result<T, DocumentError>,
    ) -> Result<Vec<T>, DocumentError> {
        let Field { document, key, key_span, span, value } = self;
        match value {
            DeValue::Array(items) => items
                .into_iter()
                .map(|item| {
                    let (key, span) = (key.clone(), item.span());
                    read(Field {
                        document,
                        key,
                        key_span: span.clone(),
                        span,
                        value: item.into_inner(),
                    })
                })
                .collect(),
            value => Err(Field { document, key, key_span, span, value }.unexpected(expected)),
        }
    }

    /// A list of texts that are not blank.
    pub(super) fn texts(self) -> Result<Vec<String>, DocumentError> {
        self.list("a list of texts", Field::text)
    }

    /// A program with its arguments, which may be empty.
    pub(super) fn arguments(self) -> Result<Vec<String>, DocumentError> {
        let whole = self.clone();
        let argv = self.list("a list of texts or one text", |item| item.any_text("a text"))?;
        match argv.first() {
            Some(program) if !program.trim().is_empty() => Ok(argv),
            Some(_) => Err(whole.invalid("the name of the program is empty")),
            None => Err(whole.invalid("expected a program and its arguments, found an empty list")),
        }
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self.value, DeValue::Array(_))
    }

    pub(super) fn is_text(&self) -> bool {
        matches!(self.value, DeValue::String(_))
    }

    /// A table with any keys.
    pub(super) fn open_table(self) -> Result<Table<'d>, DocumentError> {
        match self.value {
            DeValue::Table(table) => Ok(Table::of(self.document, self.key, self.span, table)),
            _ => Err(self.unexpected("a table")),
        }
    }

    /// A table whose keys must be among the known.
    pub(super) fn table(self, known: &[&str]) -> Result<Table<'d>, DocumentError> {
        let table = self.open_table()?;
        table.check_keys(known)?;
        Ok(table)
    }
}

fn labelled(key: &str, message: &str) -> String {
    if key.is_empty() { message.to_owned() } else { format!("`{key}`: {message}") }
}
