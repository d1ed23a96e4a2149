//! What a dataset was made with, against what the config says now.

use super::OpenError;
use crate::config::{ColumnKind, Dataset, Paths, WITHOUT_MEANING};
use crate::ledger::LedgerSchema;

/// Settings that the files themselves are made with, beside the columns.
const OF_FILES: [&str; 2] = ["shape", "dtype"];

/// What the config wants of a ledger.
pub fn schema_of(options: &Dataset) -> LedgerSchema {
    LedgerSchema {
        settings: options.fingerprint(),
        columns: ColumnKind::wanted(&options.columns).into_iter().map(|kind| kind.name().to_owned()).collect(),
    }
}

/// The settings that differ from those of a dataset with so many rows, each with both values. It takes the new ones.
///
/// # Errors
/// The rows that are there would differ in meaning from those to come; or there are none, and its files are of another kind.
pub fn other_settings(options: &Dataset, was: &LedgerSchema, rows: u64) -> Result<Vec<String>, OpenError> {
    let is = schema_of(options);
    let mut differences = was.differences(&is);
    differences.retain(|(key, ..)| !WITHOUT_MEANING.contains(&key.as_str()));
    let is_of_files = |(key, ..): &(String, _, _)| OF_FILES.contains(&key.as_str());
    let fits_files = was.columns == is.columns && !differences.iter().any(is_of_files);
    let shown = |value: Option<String>| value.unwrap_or_else(|| "not set".to_owned());
    let line = |(key, was, is)| format!("`{key}`: was {}, now {}", shown(was), shown(is));
    let lines: Vec<String> = differences.into_iter().map(line).collect();
    if fits_files && (rows == 0 || lines.is_empty()) {
        return Ok(lines);
    }
    let way_out = match rows {
        0 => {
            let files = Paths::new(&options.output).lasting().into_iter();
            let files = files.filter(|file| file.exists()).map(|file| file.display().to_string());
            let files: Vec<String> = files.collect();
            format!(
                "It has no rows yet: remove its files ({}), and the next start makes them anew. Or restore these \
                 settings, or give the dataset a new `output`.",
                files.join(", ")
            )
        }
        _ => {
            "Rows that are published never change. Restore these settings, or give the dataset a new `output` to start \
              a new array with the new ones."
                .to_owned()
        }
    };
    Err(OpenError::Settings(format!(
        "{} was made with other settings\n  {}\n{way_out}",
        options.output.display(),
        lines.join("\n  ")
    )))
}
