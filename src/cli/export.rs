//! `roster export` and `roster import`: everything as text, and a data directory made
//! of such text.

use std::fs;
use std::io::{self, BufWriter, PipeWriter, Read, Write, pipe};
use std::path::Path;
use std::process::ExitCode;
use std::thread;

use super::backup::{CopyError, failed, fetch};
use super::exit::{FAULT, fail};
use super::progress::Progress;
use super::sealed_file::SealedFile;
use crate::app::all_offered;
use crate::config::Output;
use crate::config::backup::Source;
use crate::config::connection::ConnectionSettings;
use crate::config::export::{ExportSettings, ImportSettings};
use crate::store::backup::BackupReader;
use crate::store::export::{Counted, Exporter, Import, LineFault, read_import};
use crate::store::sled::{Restoration, commits_of, head_of};

/// The name of standard input and output.
const STANDARD: &str = "-";
/// How many bad lines are told of.
const FAULTS_TOLD: usize = 1_000;

/// Exports everything.
pub fn export(settings: &ExportSettings) -> ExitCode {
    match export_to(settings) {
        Ok(counted) => {
            if settings.to != Path::new(STANDARD) {
                println!("{}", described("exported", &counted, settings.output));
            }
            ExitCode::SUCCESS
        }
        Err(error) => failed(Output::Text, &error),
    }
}

/// Makes a data directory of an export.
pub fn import(settings: &ImportSettings) -> ExitCode {
    let offered = match all_offered(&settings.catalogs) {
        Ok(offered) => offered,
        Err(error) => return fail(&error),
    };
    let text = match read(&settings.from) {
        Ok(text) => text,
        Err(error) => return failed(settings.output, &error),
    };
    let catalog = |id: &str| offered.iter().find(|catalog| catalog.id.as_str() == id);
    let import = match read_import(&text, catalog) {
        Ok(import) => import,
        Err(faults) => return unread(settings, &faults),
    };
    let counted = import.counted();
    match put_in(import, &settings.data_dir) {
        Ok(()) => {
            println!("{}", described("imported", &counted, settings.output));
            ExitCode::SUCCESS
        }
        Err(error) => failed(settings.output, &error),
    }
}

fn described(what: &str, counted: &Counted, output: Output) -> String {
    let Counted {
        organizations,
        records,
        commits,
    } = counted;
    match output {
        Output::Text => {
            format!("{what} {organizations} organizations, {records} records, {commits} commits")
        }
        Output::Json => serde_json::json!({
            "ok": true,
            "organizations": organizations,
            "records": records,
            "commits": commits,
        })
        .to_string(),
    }
}

/// Says everything that is wrong with an export.
fn unread(settings: &ImportSettings, faults: &[LineFault]) -> ExitCode {
    let told = faults.get(..FAULTS_TOLD).unwrap_or(faults);
    if settings.output == Output::Json {
        let faults: Vec<_> = told
            .iter()
            .map(|fault| serde_json::json!({ "line": fault.line, "problem": fault.problem }))
            .collect();
        println!("{}", serde_json::json!({ "ok": false, "faults": faults }));
    }
    for fault in told {
        eprintln!("{}: {fault}", settings.from.display());
    }
    let count = faults.len();
    eprintln!("roster: nothing was imported; {count} faults were found");
    ExitCode::from(FAULT)
}

fn export_to(settings: &ExportSettings) -> Result<Counted, CopyError> {
    let fault = CopyError::file("write", &settings.to);
    if settings.to == Path::new(STANDARD) {
        return write_to(BufWriter::new(io::stdout().lock()), &settings.source);
    }
    let mut file = SealedFile::create(&settings.to).map_err(&fault)?;
    let counted = write_to(&mut file, &settings.source)?;
    file.finish().map_err(&fault)?;
    Ok(counted)
}

fn write_to(to: impl Write, source: &Source) -> Result<Counted, CopyError> {
    let mut exporter = Exporter::begin(to).map_err(|fault| CopyError::Export(fault.into()))?;
    match source {
        Source::Directory(directory) => {
            let mut progress = Progress::of("exporting", head_of(directory)?.sequence.0);
            commits_of(directory, |commit| {
                progress.at(commit.sequence.0);
                exporter.commit(commit).map_err(CopyError::Export)
            })?;
        }
        // A backup is at one revision; what is made of it is too.
        Source::Daemon(connection) => thread::scope(|scope| {
            let (fetched, sent) = pipe().map_err(CopyError::Runtime)?;
            let fetching = scope.spawn(|| send(connection, sent));
            let followed = follow(fetched, &mut exporter);
            let fetched = fetching.join();
            // What broke off the fetching is why the backup ended early.
            match (fetched, followed) {
                (Ok(Err(error @ (CopyError::Call(_) | CopyError::Answered(_)))), _) => Err(error),
                (_, followed) => followed,
            }
        })?,
    }
    exporter.end().map_err(CopyError::Export)
}

fn send(connection: &ConnectionSettings, mut to: PipeWriter) -> Result<(), CopyError> {
    fetch(connection, |part| {
        // Where nobody reads on, the reader knows why.
        to.write_all(part).map_err(CopyError::Runtime)
    })
}

fn follow(from: impl Read, exporter: &mut Exporter<impl Write>) -> Result<(), CopyError> {
    let unusable = |source| CopyError::Backup {
        path: "the daemon's backup".into(),
        source,
    };
    let mut reader = BackupReader::open(io::BufReader::new(from)).map_err(unusable)?;
    while let Some(commit) = reader.next_commit().map_err(unusable)? {
        exporter.commit(&commit).map_err(CopyError::Export)?;
    }
    Ok(())
}

fn read(from: &Path) -> Result<String, CopyError> {
    let text = if from == Path::new(STANDARD) {
        io::read_to_string(io::stdin().lock())
    } else {
        fs::read_to_string(from)
    };
    text.map_err(CopyError::file("read", from))
}

fn put_in(import: Import, directory: &Path) -> Result<(), CopyError> {
    let mut restoration = Restoration::begin(directory)?;
    let mut progress = Progress::of("importing", import.counted().commits);
    let head = import.each_commit(|commit| {
        progress.at(commit.sequence.0);
        restoration.add(commit).map_err(CopyError::from)
    })?;
    Ok(restoration.finish(&head)?)
}
