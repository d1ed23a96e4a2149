//! `records`, `csv`, `gps`, `npy` and `command`: what is accepted, what it means, and the text of each fault.

use std::time::Duration;

use npy_ingest::config::{Coefficient, ColumnFrom, CommandOutput, Dataset, DecoderOptions, GpsField, OnError};

use super::{assert_faults, parsed};

/// A dataset of structured rows with this decoder table.
fn text(dtype: &str, table: &str) -> String {
    format!("[[dataset]]\nname = \"a\"\noutput = \"a.npy\"\ndtype = {dtype}\nwatch.folders = [\"in\"]\n{table}\n")
}

const XY: &str = "[[\"x\", \"<i2\"], [\"y\", \"<f4\"]]";

fn dataset(dtype: &str, table: &str) -> Dataset {
    parsed(&text(dtype, table)).datasets.remove(0)
}

#[track_caller]
fn assert_refused(dtype: &str, table: &str, expected: &[&str]) {
    super::assert_refused(&text(dtype, table), expected);
}

/// Without `shape`, neither limit was looked at.
#[test]
fn a_row_that_is_one_record_has_the_limits_of_a_row() {
    assert_refused(
        "[[\"image\", \"<u2\", [30000, 30000]]]",
        "[dataset.npy]",
        &["f.toml:4:9: `dataset.dtype`: one row takes 1800000000 bytes (1.68GiB), expected at most 1GiB"],
    );
    assert_refused(
        "[[\"image\", \"u1\", [2000, 2000]]]",
        "[dataset.npy]\n[service]\nmemory = \"1MiB\"",
        &["f.toml:4:9: `dataset.dtype`: one row takes 4000000 bytes (3.81MiB), but `service.memory` is 1MiB; raise \
           `service.memory`: it holds the rows that wait for the writer"],
    );
}

/// Ledgers of datasets that were made before know them as `f8`.
#[test]
fn whole_coefficients_are_kept_and_compared_as_before() {
    for (written, expected, fingerprint) in [
        ("9007199254740993", Coefficient::Whole(9_007_199_254_740_993), "9007199254740992"),
        ("1_714_564_800_000_000_000", Coefficient::Whole(1_714_564_800_000_000_000), "1714564800000000000"),
        ("-1e3", Coefficient::Whole(-1000), "-1000"),
        ("1e19", Coefficient::Real(1e19), "10000000000000000000"),
        ("0.5", Coefficient::Real(0.5), "0.5"),
    ] {
        let table =
            format!("[dataset.records]\nlength = 8\nfields = [{{ name = 'x', dtype = '<u4', add = {written} }}]");
        let found = dataset("[[\"x\", \"<i8\"]]", &table);
        let DecoderOptions::Records(options) = &found.decoder else { panic!("{:?}", found.decoder) };
        assert_eq!(options.fields[0].add, expected, "{written}");
        let text = found.fingerprint().into_iter().find(|(key, _)| key == "records.fields").unwrap().1;
        assert_eq!(text, format!("[{{ \"x\" [0] 1 x <i8, at 0, <u4, scale 1, add {fingerprint} }}]"));
    }
}

#[test]
fn records_are_the_row_where_nothing_else_is_said() {
    let found = dataset(XY, "[dataset.records]");
    assert!(found.row.shape.is_empty());
    let DecoderOptions::Records(options) = &found.decoder else { panic!("{:?}", found.decoder) };
    assert_eq!((options.skip, options.length, options.fields.len(), options.on_error), (0, 6, 0, OnError::Reject));
    assert!(found.watch.include.is_match("a/b.bin") && !found.watch.include.is_match("a.csv"));
}

#[test]
fn fields_of_records_have_their_defaults() {
    let table = "[dataset.records]\nlength = 20\nsync = [0xAA, 0x55]\n\
                 fields = [{ name = 'y', offset = 2, dtype = '>f8' }, { name = 'x', bits = [3, 2], scale = 2 }]\n\
                 checksum = { kind = 'crc16-modbus', offset = 18 }";
    let found = dataset(XY, table);
    let DecoderOptions::Records(options) = &found.decoder else { panic!("{:?}", found.decoder) };
    let places: Vec<_> = options.fields.iter().map(|field| (field.offset, field.slot.offset)).collect();
    assert_eq!(places, [(2, 2), (10, 0)]);
    assert_eq!((options.sync.as_slice(), options.on_error), ([0xAA, 0x55].as_slice(), OnError::Skip));
    let checksum = options.checksum.as_ref().unwrap();
    assert_eq!((checksum.from, checksum.to, checksum.big_endian), (0, 18, false));
    // The same in other words, and what becomes of bad records; and everything that gives rows their meaning differs.
    let strict = table.replace("length = 20", "length = 20\non_error = 'reject'");
    assert_eq!(dataset(XY, &strict).fingerprint(), found.fingerprint());
    let spelled = table.replace("[0xAA, 0x55]", "'aa55'").replace("scale = 2", "scale = 2.0, dtype = '<i2', add = 0");
    assert_eq!(dataset(XY, &spelled).fingerprint(), found.fingerprint());
    for (from, to) in [
        ("length = 20", "length = 21"),
        ("length = 20", "length = 20\nskip = 1"),
        ("0x55", "0x56"),
        ("offset = 2,", "offset = 3,"),
        (">f8", "<f8"),
        ("[3, 2]", "[3, 3]"),
        ("scale = 2", "scale = 3"),
        ("scale = 2", "scale = 2, add = 1"),
        ("modbus", "arc"),
        ("offset = 18", "offset = 18, order = 'big'"),
        ("offset = 18", "offset = 18, over = [2, 18]"),
    ] {
        assert!(table.contains(from), "{from}");
        assert_ne!(dataset(XY, &table.replace(from, to)).fingerprint(), found.fingerprint(), "{to}");
    }
}

#[test]
fn records_that_cannot_be() {
    assert_faults(
        &text(XY, "[dataset.records]\nlength = 8"),
        r#"
ingest.toml:7:10: `dataset.records.length`: found 8, but a row takes 6 bytes, and without `fields` the record is the row; list the values of the record in `fields`
    7 | length = 8
      |          ^
ingest.toml: 1 fault"#,
    );
    let fields = |fields: &str| format!("[dataset.records]\nlength = 8\nfields = [{fields}]");
    assert_refused(
        XY,
        &fields("{ name = 'x' }"),
        &["f.toml:8:10: `dataset.records.fields`: the row's \"y\" is not among the fields, so it would have no value"],
    );
    assert_refused(
        XY,
        &fields("{ name = 'x' }, { name = 'yy' }, { name = 'x' }"),
        &[
            "f.toml:8:27: `dataset.records.fields`: \"yy\" is not a field of the dtype, which has \"x\", \"y\"; did you mean \"y\"?",
            "f.toml:8:44: `dataset.records.fields`: \"x\" stands in `fields` twice",
        ],
    );
    assert_refused(
        XY,
        &fields("{ name = 'x', offset = 7 }, { name = 'y', ofset = 0 }"),
        &[
            "f.toml:8:11: `dataset.records.fields`: \"x\" takes bytes 7 to 9, but a record has 8",
            "f.toml:8:53: `dataset.records.fields.ofset`: unknown key; did you mean `offset`?",
        ],
    );
    assert_refused(
        XY,
        &fields("{ name = 'x', bits = [9, 8] }, { name = 'y', dtype = 'S4' }"),
        &[
            "f.toml:8:32: `dataset.records.fields.bits`: found bits 9 to 17, expected bits of an integer: \"x\" has 16 bits",
            "f.toml:8:42: `dataset.records.fields`: \"y\" cannot become what the row has there; numbers become numbers, integers become times; everything else keeps its dtype, without `bits`, `scale` and `add`",
        ],
    );
    assert_refused(
        XY,
        "[dataset.records]\nsync = 'AA5'\nchecksum = { kind = 'crc8', offset = 5 }",
        &[
            "f.toml:7:8: `dataset.records.sync`: found \"AA5\", expected the bytes of the marker, such as [0xAA, 0x55] or \"AA55\"",
            "f.toml:8:21: `dataset.records.checksum.kind`: found \"crc8\", expected one of \"crc16-ccitt\", \"crc16-xmodem\", \"crc16-kermit\", \"crc16-modbus\", \"crc16-arc\", \"crc32\", \"crc32c\", \"sum8\", \"sum16\", \"sum32\", \"xor8\"; did you mean \"crc32\"?",
        ],
    );
    assert_refused(
        XY,
        "[dataset.records]\nchecksum = { kind = 'crc32', offset = 3 }\non_error = 'skip'",
        &[
            "f.toml:7:39: `dataset.records.checksum.offset`: found 3, but a checksum of 4 bytes there ends behind the record of 6",
        ],
    );
    assert_refused(
        XY,
        "[dataset.records]\nchecksum = { kind = 'sum8', offset = 5, over = [0, 6] }",
        &[
            "f.toml:7:48: `dataset.records.checksum.over`: the checksum is over bytes 0 to 6, and stands at 5, among them",
        ],
    );
    assert_refused(
        XY,
        "[dataset.records]\non_error = 'skip'\nfollow = true\n[dataset.columns]\ntime = true",
        &[
            "f.toml:7:12: `dataset.records.on_error`: has no effect: without `sync` and `checksum` no record can be found to be bad, and with `follow` the last one is waited for; remove the line",
            "f.toml:10:8: `dataset.columns.time`: rows of `records` come without a time of their own; remove the line; a time that the source holds can be a field of the row",
        ],
    );
}

#[test]
fn columns_of_csv_are_names_or_places() {
    let options = |dtype: &str, table: &str| match dataset(dtype, table).decoder {
        DecoderOptions::Csv(options) => options,
        other => panic!("{other:?}"),
    };
    let from = |dtype: &str, table: &str| -> Vec<_> {
        options(dtype, table).columns.into_iter().map(|column| column.from).collect()
    };
    let named = |name: &str| ColumnFrom::Name(name.to_owned());
    assert_eq!(from(XY, "[dataset.csv]"), [named("x"), named("y")]);
    assert_eq!(from(XY, "[dataset.csv]\nheader = false"), [ColumnFrom::Place(0), ColumnFrom::Place(1)]);
    assert_eq!(from(XY, "[dataset.csv]\ncolumns = ['b', 3]"), [named("b"), ColumnFrom::Place(3)]);
    let plain = options("'f4'\nshape = [2]", "[dataset.csv]");
    assert_eq!((plain.columns.len(), plain.others, plain.delimiter, plain.quote), (2, false, b',', Some(b'"')));
    let fingerprint = |table: &str| dataset(XY, table).fingerprint();
    for table in [
        "delimiter = ';'",
        "quote = ''",
        "comment = '#'",
        "header = false",
        "columns = ['y', 'x']",
        "missing = ['NA']",
        "follow = true",
    ] {
        assert_ne!(fingerprint("[dataset.csv]"), fingerprint(&format!("[dataset.csv]\n{table}")), "{table}");
    }
    assert_eq!(fingerprint("[dataset.csv]"), fingerprint("[dataset.csv]\non_error = 'skip'"));
}

/// The bug: these were taken, and no text of a file was ever equal to them.
#[test]
fn texts_with_blanks_around_them_are_refused() {
    assert_refused(
        XY,
        "[dataset.csv]\ncolumns = ['x ', 'y']\nmissing = [' ', ' n/a', '']",
        &[
            "f.toml:7:12: `dataset.csv.columns`: found \"x \", but blanks around the name of a column are passed over in the file; write \"x\"",
            "f.toml:8:12: `dataset.csv.missing`: found \" \", but blanks around a word are passed over in the file; write \"\"",
            "f.toml:8:17: `dataset.csv.missing`: found \" n/a\", but blanks around a word are passed over in the file; write \"n/a\"",
        ],
    );
}

/// The bug: pictures were advised.
#[test]
fn rows_of_tables_and_records_are_advised_as_such() {
    for (decoder, fields, shape, dtype) in [
        ("csv", r#"[["time", "<M8[ns]"], ["x", "<f4"]]"#, "[3]", "\"f4\""),
        ("records", r#"[["time", "<u4"], ["x", "<f4"]]"#, "[3]", "\"f4\""),
        ("gps", r#"[["time", "<M8[ns]"], ["latitude", "<f8"], ["longitude", "<f8"]]"#, "[6]", "\"f8\""),
    ] {
        let with = |row: &str| text("''", &format!("[dataset.{decoder}]")).replace("dtype = ''", row);
        let missing = |key: &str, example: &str| {
            format!("f.toml:1:1: `dataset.{key}`: is missing and has no default; for example: {key} = {example}")
        };
        super::assert_refused(&with(""), &[&missing("dtype", fields)]);
        super::assert_refused(&with("dtype = 'f8'"), &[&missing("shape", shape)]);
        super::assert_refused(&with("shape = [6]"), &[&missing("dtype", dtype)]);
    }
}

#[test]
fn csv_that_cannot_be() {
    assert_refused(
        XY,
        "[dataset.csv]\ndelimiter = ';;'\nheader = false\ncolumns = ['x', 'y', 'z']",
        &[
            "f.toml:7:13: `dataset.csv.delimiter`: found \";;\", expected one ASCII character such as \",\" or \"\\t\"",
            "f.toml:9:12: `dataset.csv.columns`: found \"x\", but with header = false columns have no names; give the places of the columns, from 0",
            "f.toml:9:17: `dataset.csv.columns`: found \"y\", but with header = false columns have no names; give the places of the columns, from 0",
            "f.toml:9:22: `dataset.csv.columns`: found \"z\", but with header = false columns have no names; give the places of the columns, from 0",
        ],
    );
    for delimiter in ["1", ".", "-", "+", "e", "Z"] {
        let expected = format!(
            "f.toml:7:13: `dataset.csv.delimiter`: found \"{delimiter}\", expected a character that is in no number or word, such as \",\" or \"\\t\""
        );
        assert_refused(XY, &format!("[dataset.csv]\ndelimiter = '{delimiter}'"), &[&expected]);
    }
    assert_refused(
        XY,
        "[dataset.csv]\ncolumns = ['x']\ntimes = ['yy', 'x']\nquote = ','",
        &[
            "f.toml:6:1: `dataset.csv.delimiter`: `delimiter`, `quote` and `comment` must differ from each other",
            "f.toml:7:11: `dataset.csv.columns`: found 1 column, but a row has 2 values",
            "f.toml:8:10: `dataset.csv.times`: \"yy\" is not a field of the dtype, which has \"x\", \"y\"; did you mean \"y\"?",
            "f.toml:8:16: `dataset.csv.times`: \"x\" must be \"f8\" (seconds since 1970) or a datetime to hold a time",
        ],
    );
    assert_refused(
        "'c8'\nshape = [2]",
        "[dataset.csv]\ntime_format = 's'",
        &[
            "f.toml:4:9: `dataset.dtype`: found \"c8\", expected numbers up to 8 bytes, `?`, strings, or times such as \"M8[ns]\" for `csv`",
            "f.toml:8:15: `dataset.csv.time_format`: has no effect: no value of the row is a time; use a dtype such as \"M8[ns]\", or name columns in `times`",
        ],
    );
    assert_refused(
        "[['x', 'f4', [2]]]\nshape = [3]",
        "[dataset.csv]",
        &[
            "f.toml:5:9: `dataset.shape`: found [3], but a row of `csv` is one record of a structured dtype; remove `shape`, or write shape = []",
        ],
    );
    assert_refused(
        "[['x', 'f4', [2]]]",
        "[dataset.csv]",
        &[
            "f.toml:6:1: `dataset.csv.columns`: is missing, and a field of the row takes several columns; name a column for each value of the row: columns = [\"time\", \"x\", \"y\"]",
        ],
    );
}

#[test]
fn gps_goes_by_the_names_of_fields() {
    let options = |dtype: &str, table: &str| match dataset(dtype, table).decoder {
        DecoderOptions::Gps(options) => options,
        other => panic!("{other:?}"),
    };
    assert_eq!(options("'f8'\nshape = [6]", "[dataset.gps]").fields.len(), 6);
    let some = options("[['longitude', 'f4'], ['time', 'M8[ms]']]", "[dataset.gps]\ndate = '1970-01-03'");
    let fields: Vec<_> = some.fields.iter().map(|(field, _)| *field).collect();
    assert_eq!((fields.as_slice(), some.date), ([GpsField::Longitude, GpsField::Time].as_slice(), Some(2)));
    assert_refused(
        "'f8'\nshape = [2]",
        "[dataset.gps]\ndate = '1.5.2024'",
        &[
            "f.toml:5:9: `dataset.shape`: a row has 2 values, expected 6: \"time\", \"latitude\", \"longitude\", \"altitude\", \"speed\", \"course\"; name those that it has: fields = [\"time\", \"latitude\", \"longitude\"]",
            "f.toml:8:8: `dataset.gps.date`: found \"1.5.2024\", expected a date such as \"2024-05-01\"",
        ],
    );
    assert_refused(
        "[['latitud', 'f8'], ['speed', 'f8']]",
        "[dataset.gps]",
        &[
            "f.toml:4:9: `dataset.dtype`: found a field \"latitud\", expected some of \"time\", \"latitude\", \"longitude\", \"altitude\", \"speed\", \"course\"; did you mean \"latitude\"?",
        ],
    );
    assert_refused(
        "[['latitude', 'f4'], ['time', 'f4']]",
        "[dataset.gps]",
        &[
            "f.toml:4:9: `dataset.dtype`: \"time\" is an \"f4\", which counts seconds since 1970 in steps of 128, expected \"f8\" or \"M8[ns]\"; for example dtype = [[\"time\", \"M8[ns]\"], [\"latitude\", \"f4\"]]",
        ],
    );
    assert_eq!(options("'f4'\nshape = [2]", "[dataset.gps]\nfields = ['latitude', 'longitude']").fields.len(), 2);
    assert_refused(
        "[['speed', 'i4']]",
        "[dataset.gps]",
        &[
            "f.toml:4:9: `dataset.dtype`: found [['speed', 'i4']], expected \"f8\" or \"f4\" for `gps`, or \"M8[ns]\" for the time; for example shape = [6] and dtype = \"f8\", or dtype = [[\"time\", \"M8[ns]\"], [\"latitude\", \"f8\"]]",
        ],
    );
}

#[test]
fn arrays_and_programs() {
    assert!(matches!(
        dataset(XY, "[dataset.npy]\nmember = 'a'\nbyte_order = 'convert'").decoder,
        DecoderOptions::Npy(_)
    ));
    let found = dataset(XY, "[dataset.command]\nargv = ['python3', 'a.py', '{source}', '{\"a\": {}}']");
    assert!(found.watch.include.is_match("any file"));
    let DecoderOptions::Command(options) = &found.decoder else { panic!("{:?}", found.decoder) };
    assert_eq!((options.output, options.worker, options.timeout), (CommandOutput::Npy, false, Duration::from_secs(60)));
    // How it runs may change; what it gives may not.
    let other = |more: &str| {
        dataset(XY, &format!("[dataset.command]\nargv = ['python3', 'a.py', '{{source}}', '{{\"a\": {{}}}}']\n{more}"))
    };
    assert_eq!(found.fingerprint(), other("timeout = '1h'\nmemory = '1GiB'\nmax_output = '1GiB'").fingerprint());
    assert_ne!(found.fingerprint(), other("output = 'raw'").fingerprint());
    assert_refused(
        XY,
        "[dataset.command]\ntimeout = 5\nmemory = '1MiB'",
        &[
            "f.toml:6:1: `dataset.command.argv`: is missing and has no default; for example: argv = [\"python3\", \"prep.py\", \"{source}\"]",
            "f.toml:7:11: `dataset.command.timeout`: found 5, expected a time from 10ms to 24h such as \"60s\"; add a unit: \"5s\" or \"5ms\"",
            "f.toml:8:10: `dataset.command.memory`: found \"1MiB\", expected at least \"16MiB\": no program starts with less",
        ],
    );
    assert_refused(
        XY,
        "[dataset.command]\nargv = ['a', '{sorce}', '']\nworkers = 3",
        &[
            "f.toml:7:14: `dataset.command.argv`: found {sorce}, which is not filled in; what is filled in: {source}, {dataset}, {shape}, {dtype}",
            "f.toml:8:1: `dataset.command.workers`: unknown key; did you mean `worker`?",
        ],
    );
    assert_refused(
        XY,
        "[dataset.command]\nargv = ['a', '{source}']\nworker = true\noutput = 'raw'",
        &[
            "f.toml:7:14: `dataset.command.argv`: found {source}, but a worker is told of its sources line by line on its standard input; remove it here, or remove worker = true",
            "f.toml:9:10: `dataset.command.output`: has no effect: each answer of a worker says what it is; remove the line",
        ],
    );
}

#[test]
fn a_log_that_is_followed_stays() {
    let found = dataset(XY, "[dataset.records]\nfollow = true");
    assert!(found.decoder.follows());
    assert_ne!(found.fingerprint(), dataset(XY, "[dataset.records]").fingerprint());
    assert!(dataset(XY, "[dataset.csv]\nfollow = true").decoder.follows());
    assert_refused(
        XY,
        "watch.after = 'delete'\nwatch.rejected = 'move'\nwatch.rejected_to = 'bad'\n\
         columns.split = { a = 0.5, b = 0.5, by = 'content' }\n[dataset.csv]\nfollow = true",
        &[
            "f.toml:6:15: `dataset.watch.after`: found \"delete\", but a log that is followed stays: it is still being written; remove the line, or `follow`",
            "f.toml:7:18: `dataset.watch.rejected`: found \"move\", but a log that is followed stays: it is still being written; remove the line, or `follow`",
            "f.toml:9:17: `dataset.columns.split`: found by = \"content\", but the content of a log that is followed grows; remove the line, or `follow`",
        ],
    );
}
