//! Files that hold no config.

use std::path::Path;

use npy_ingest::config::{self, ConfigError};

use super::GOOD;

#[test]
fn a_file_that_is_not_there_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ingest.toml");
    let error = config::load(&file).unwrap_err();
    assert!(matches!(&error, ConfigError::Read { file: named, .. } if *named == file));
    let text = error.to_string();
    assert!(text.starts_with(&format!("cannot read the config {}: ", file.display())), "{text}");
    assert!(text.contains("--config"), "{text}");
}

#[test]
fn a_file_that_is_no_text_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ingest.toml");
    std::fs::write(&file, b"a = 1\nb = '\xff'\n").unwrap();
    let error = config::load(&file).unwrap_err().to_string();
    assert_eq!(error, format!("{}:2: the config is not UTF-8 text; save it as UTF-8", file.display()));

    std::fs::write(&file, vec![b'#'; (1 << 20) + 1]).unwrap();
    let error = config::load(&file).unwrap_err().to_string();
    assert_eq!(error, format!("{} is not a config: it is larger than 1MiB", file.display()));
}

#[test]
fn faults_name_the_file_as_it_was_given_and_paths_start_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    let file = folder.path().join("sub/../ingest.toml");
    std::fs::write(&file, GOOD).unwrap();
    let config = config::load(&file).unwrap();
    assert_eq!(config.file, folder.path().join("ingest.toml"));
    assert_eq!(config.datasets[0].output, folder.path().join("a.npy"));

    std::fs::write(&file, format!("{GOOD}fit = 1\n")).unwrap();
    let Err(ConfigError::Faults(faults)) = config::load(&file) else { panic!("expected faults") };
    let fault = faults.iter().next().unwrap();
    assert_eq!((fault.line, fault.column, fault.key.as_str()), (10, 7, "dataset.image.fit"));
    assert_eq!(fault.file, file);
    assert_eq!((faults.len(), fault.help.as_deref()), (1, None));
}

#[test]
fn rubbish_is_refused_without_flooding_the_terminal() {
    let faults = config::parse(&"x\n".repeat(100_000), Path::new("f.toml")).unwrap_err();
    assert_eq!(faults.len(), 50);
    for text in ["[".repeat(100_000), format!("a={}", "[".repeat(100_000)), "\0\u{1b}[31m".repeat(1000)] {
        let shown = config::parse(&text, Path::new("f.toml")).unwrap_err().to_string();
        assert!(shown.len() < 2000 && !shown.contains(['\0', '\u{1b}']), "{shown}");
    }
}

/// The bug: two datasets wrote to one file, and the second was refused as if another process held it.
#[test]
fn an_output_behind_a_link_is_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    std::os::unix::fs::symlink("data", folder.path().join("ln")).unwrap();
    let one = GOOD.replace("a.npy", "data/a.npy");
    let other = GOOD.replace("a.npy", "ln/a.npy").replace("\"a\"", "\"b\"");
    let file = folder.path().join("ingest.toml");
    std::fs::write(&file, format!("{one}{other}")).unwrap();
    let error = config::load(&file).unwrap_err().to_string();
    let expected =
        "found \"ln/a.npy\", but a.npy belongs to the output of dataset \"a\" (line 4) as well; choose another name";
    assert!(error.contains(expected), "{error}");
}
