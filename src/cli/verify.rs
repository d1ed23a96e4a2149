//! `npy-ingest verify`: do headers, sizes, ledger and, with `--deep`, every row agree?

use std::path::Path;

use serde_json::json;

use super::failure::Failure;
use super::{DONE, FAILED, array_file, print, print_json, text};
use crate::config::{ColumnKind, Config, Dataset, Paths};
use crate::ledger::{Fate, LedgerView, Listed, no_ledger};
use crate::npy::{AppendError, Growth, Layout, Tail, inspect};
use crate::recovery::{
    FileFindings, Finding, RowCheck, check_file, check_newest, check_rows, is_there, other_settings, wrong_labels,
};
use crate::storage::{Access, Disk, DiskFile, RealDisk, lock_holder};

/// What was found in one dataset.
struct Verdict {
    name: String,
    /// `None`: the ledger cannot be read.
    rows: Option<u64>,
    /// Recomputed, with `--deep`.
    sources_checked: Option<u64>,
    problems: Vec<String>,
    /// What the next start mends by itself.
    notes: Vec<String>,
}

impl Verdict {
    /// Nothing is known yet.
    fn new(options: &Dataset) -> Self {
        let name = options.name.clone();
        Self { name, rows: None, sources_checked: None, problems: Vec::new(), notes: Vec::new() }
    }
}

pub fn run(config: &Config, deep: bool, json: bool) -> Result<u8, Failure> {
    let mut verdicts = Vec::new();
    for dataset in &config.datasets {
        verdicts.push(match verify(dataset, deep) {
            // One that cannot be looked at leaves the others alone.
            Err(failure) if failure.code == FAILED => Verdict { problems: vec![failure.text], ..Verdict::new(dataset) },
            verdict => verdict?,
        });
    }
    if json {
        let datasets: Vec<_> = verdicts.iter().map(as_json).collect();
        print_json(&json!({ "ok": verdicts.iter().all(|verdict| verdict.problems.is_empty()), "datasets": datasets }))?;
    } else {
        for verdict in &verdicts {
            print(&lines(verdict, deep))?;
        }
    }
    Ok(if verdicts.iter().all(|verdict| verdict.problems.is_empty()) { DONE } else { FAILED })
}

/// One `.npy` file of any origin: is all there that its header promises?
pub fn run_file(file: &Path, json: bool) -> Result<u8, Failure> {
    let inspection = match inspect(file).map_err(|error| array_file::inspect_failure(file, &error)) {
        Err(failure) if json => {
            let (name, problems) = (text::path(file), [failure.text]);
            let verdict = json!({ "name": name, "ok": false, "rows": null, "sources_checked": null,
                "problems": problems, "notes": [] });
            print_json(&verdict)?;
            return Ok(failure.code);
        }
        inspected => inspected?,
    };
    let number_of = |bytes| text::number_of(bytes, "byte", "bytes");
    let can_grow = !matches!(inspection.header.growth(), Growth::None(_));
    let (problem, note) = match inspection.tail {
        Tail::Exact => (None, None),
        Tail::Past { .. } if inspection.is_followed_by_array => {
            let offset = inspection.header.data_start.saturating_add(inspection.data_bytes_expected);
            (Some(AppendError::SeveralArrays { path: file.to_owned(), offset }.to_string()), None)
        }
        // Behind another program's count there may be rows of it, and `append` refuses them.
        Tail::Past { bytes } if can_grow && !matches!(inspection.growth, Growth::Window { .. }) => (
            Some(format!(
                "{} behind the last row that its header counts, which may be rows of another program: `append` refuses the \
                 file, and `npy-ingest recover` counts them",
                number_of(bytes)
            )),
            None,
        ),
        Tail::Past { bytes } if can_grow => {
            let past = number_of(bytes);
            let note = format!(
                "{past} past the last row, which no append has published: the next `append` cuts them off, `npy-ingest recover` \
                 counts them"
            );
            (None, Some(note))
        }
        Tail::Past { bytes } => (None, Some(format!("{} past the last row", number_of(bytes)))),
        Tail::Missing { bytes } => {
            let cure = match can_grow {
                true => "`npy-ingest recover` counts what is there",
                false => "an array without dimensions cannot be recovered",
            };
            let are = if bytes == 1 { "is" } else { "are" };
            (Some(format!("{} of its data {are} missing: the file was cut short; {cure}", number_of(bytes))), None)
        }
    };
    let name = text::path(file);
    let verdict = Verdict {
        name,
        rows: Some(inspection.rows.unwrap_or(1)),
        sources_checked: None,
        problems: problem.into_iter().collect(),
        notes: note.into_iter().collect(),
    };
    if json {
        print_json(&as_json(&verdict))?;
    } else {
        print(&lines(&verdict, false))?;
    }
    Ok(if verdict.problems.is_empty() { DONE } else { FAILED })
}

fn verify(options: &Dataset, deep: bool) -> Result<Verdict, Failure> {
    let paths = Paths::new(&options.output);
    let mut verdict = Verdict::new(options);
    let Some(view) = LedgerView::open(&paths.ledger)? else {
        match paths.main.exists() {
            true if lock_holder(&paths.main).is_some() => {
                verdict.notes.push("it is being made at the moment: its ledger holds nothing yet".to_owned());
            }
            true => {
                verdict.problems.push(format!("{}: {}", text::path(&paths.main), no_ledger(&paths.ledger)));
            }
            false => verdict.notes.push("nothing has been taken yet".to_owned()),
        }
        verdict.rows = Some(0);
        return Ok(verdict);
    };
    // A service may be at work. Its order is rows, ledger, header: the ledger is read first, so that the files hold at
    // least what it says, and headers may be ahead of this reading.
    let state = view.state()?;
    let rows = state.rows;
    verdict.rows = Some(rows);
    other_settings(options, &view.schema()?, rows)
        .map_err(|error| Failure::wrong_config(format!("dataset \"{}\": {error}", options.name)))?;
    let mut files = Vec::new();
    let columns =
        ColumnKind::wanted(&options.columns).into_iter().map(|kind| (paths.column(kind), kind.dtype(), Vec::new()));
    let main = (paths.main.clone(), options.row.dtype.clone(), options.row.shape.clone());
    for (path, dtype, shape) in [main].into_iter().chain(columns) {
        let layout = Layout::new(&dtype, &shape).map_err(|error| Failure::failed(error.to_string()))?;
        match is_there(&RealDisk, &path) {
            // A crash came upon its creation, or it goes on.
            Ok(false) if rows == 0 => {
                verdict.notes.push(format!("{} is not there yet: the next start makes it", text::path(&path)));
                continue;
            }
            Ok(_) => {}
            Err(error) => {
                verdict.problems.push(error.to_string());
                continue;
            }
        }
        match RealDisk.open(&path, Access::Read) {
            Ok(file) => files.push((path, layout, file)),
            Err(error) => verdict.problems.push(format!("{}: {error}", text::path(&path))),
        }
    }
    for (path, layout, file) in &files {
        let findings = read(path, || check_file(&**file, path, layout, state))?;
        note_findings(&mut verdict, &view, findings)?;
    }
    if verdict.problems.is_empty() {
        let wrong = wrong_labels(&RealDisk, options, &view).unwrap_or_else(|error| Some(error.to_string()));
        verdict.problems.extend(wrong);
        match deep {
            true => verify_rows(&mut verdict, &view, &files)?,
            false => verify_newest(&mut verdict, rows, &view, &files)?,
        }
    }
    Ok(verdict)
}

fn note_findings(verdict: &mut Verdict, view: &LedgerView, findings: FileFindings) -> Result<(), Failure> {
    for finding in findings.findings {
        match &finding {
            // A commit that came between the two readings.
            Finding::HeaderAboveLedger { published, .. } | Finding::LostUnsynced { published, .. }
                if *published <= view.state()?.rows => {}
            finding if finding.is_mended_at_start() => verdict.notes.push(finding.to_string()),
            finding => verdict.problems.push(finding.to_string()),
        }
    }
    Ok(())
}

type OpenFile = (std::path::PathBuf, Layout, Box<dyn DiskFile>);

fn verify_rows(verdict: &mut Verdict, view: &LedgerView, files: &[OpenFile]) -> Result<(), Failure> {
    let checks = row_checks(files);
    let Some((main, columns)) = checks.split_first() else { return Ok(()) };
    let mut checked = 0;
    let mut problems = Vec::new();
    view.for_each(false, |Listed { entry, .. }| -> Result<(), Failure> {
        if matches!(&entry.fate, Fate::Committed(committed) if committed.rows > 0) {
            problems.extend(read(main.path, || check_rows(main, columns, &entry))?.map(|finding| finding.to_string()));
            checked += 1;
        }
        Ok(())
    })?;
    verdict.sources_checked = Some(checked);
    verdict.problems.append(&mut problems);
    Ok(())
}

/// What every start checks.
fn verify_newest(verdict: &mut Verdict, rows: u64, view: &LedgerView, files: &[OpenFile]) -> Result<(), Failure> {
    let checks = row_checks(files);
    let Some((main, columns)) = checks.split_first() else { return Ok(()) };
    let finding = check_newest(main, columns, rows, |row, limit| view.committed_from(row, limit))
        .map_err(|error| Failure::failed(text::one_line(&error.to_string())))?;
    verdict.problems.extend(finding.map(|finding| finding.to_string()));
    Ok(())
}

fn row_checks(files: &[OpenFile]) -> Vec<RowCheck<'_>> {
    files.iter().map(|(path, layout, file)| RowCheck { file: &**file, layout, path }).collect()
}

fn read<T>(path: &Path, read: impl FnOnce() -> std::io::Result<T>) -> Result<T, Failure> {
    read().map_err(|error| Failure::failed(format!("reading {}: {error}", text::path(path))))
}

fn lines(verdict: &Verdict, deep: bool) -> String {
    let rows = verdict.rows.map_or("how many rows are".to_owned(), |rows| text::number_of(rows, "row", "rows"));
    let mut lines = if verdict.problems.is_empty() {
        let how = match verdict.sources_checked {
            Some(sources) => format!(", and every checksum of {}", text::number_of(sources, "source", "sources")),
            None => String::new(),
        };
        format!("{}: sound, {rows}{how}\n", verdict.name)
    } else {
        let skipped = if deep && verdict.sources_checked.is_none() { "; checksums were not looked at" } else { "" };
        let unknown = if verdict.rows.is_none() { " is not known" } else { "" };
        format!("{}: NOT sound, {rows} committed{unknown}{skipped}\n", verdict.name)
    };
    for problem in &verdict.problems {
        lines.push_str(&format!("  problem  {}\n", text::one_line(problem)));
    }
    for note in &verdict.notes {
        lines.push_str(&format!("  note     {}\n", text::one_line(note)));
    }
    lines
}

fn as_json(verdict: &Verdict) -> serde_json::Value {
    json!({
        "name": verdict.name,
        "ok": verdict.problems.is_empty(),
        "rows": verdict.rows,
        "sources_checked": verdict.sources_checked,
        "problems": verdict.problems,
        "notes": verdict.notes,
    })
}
