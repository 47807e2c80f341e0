//! What is wrong with a catalog, or with another file of settings, and where.

use std::ops::Range;

/// One thing wrong with a catalog, or with another file of settings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{path}:{line}:{column}: {message}")]
pub struct CatalogFault {
    /// The file, as the reader of the message knows it.
    pub path: String,
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
    /// What is wrong and what to do about it: lower case, without a final period.
    pub message: String,
}

impl CatalogFault {
    /// A fault of a whole file or folder.
    pub(crate) fn of_file(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            line: 1,
            column: 1,
            message: message.into(),
        }
    }
}

/// Collects the faults of one file while it is read.
#[derive(Debug)]
pub(crate) struct Faults<'t> {
    path: &'t str,
    text: &'t str,
    found: Vec<CatalogFault>,
}

impl<'t> Faults<'t> {
    /// None so far.
    pub(crate) fn new(path: &'t str, text: &'t str) -> Self {
        Self {
            path,
            text,
            found: Vec::new(),
        }
    }

    /// Notes a fault at a range of bytes.
    pub(crate) fn add(&mut self, span: Range<usize>, message: impl Into<String>) {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before
            .rfind('\n')
            .map_or(0, |newline| newline.saturating_add(1));
        self.found.push(CatalogFault {
            path: self.path.to_owned(),
            line: before.matches('\n').count().saturating_add(1),
            column: before
                .get(line_start..)
                .unwrap_or("")
                .chars()
                .count()
                .saturating_add(1),
            message: message.into(),
        });
    }

    /// The text of the file at a range of bytes, as it is written there.
    pub(crate) fn written(&self, span: Range<usize>) -> &'t str {
        self.text.get(span).unwrap_or_default()
    }

    /// What was found, in the order of the file.
    pub(crate) fn into_found(mut self) -> Vec<CatalogFault> {
        self.found.sort();
        self.found.dedup();
        self.found
    }
}
