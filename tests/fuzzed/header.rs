//! `.npy` headers: reading any, writing ours, and growing in place without a change of meaning.

use std::fs::File;
use std::os::unix::fs::FileExt;

use npy_ingest::npy::{
    Dtype, Growth, HEADER_BYTES_MAX, Header, HeaderError, Layout, MAGIC, Tail, WINDOW_BYTES, WINDOW_BYTES_MIN,
    inspect_file,
};

use super::memory;

/// What reading may take besides a multiple of the header: inspecting reads as much as the length field says, up to the
/// longest header, before it knows that the file is shorter.
const BYTES_MAX: usize = HEADER_BYTES_MAX as usize + (64 << 10);
const BYTES_PER_BYTE_MAX: usize = 400;

thread_local! {
    static FILE: File = file_without_name();
}

/// The bytes are a file, or where they do not begin like one, the text of a header or of a dtype.
pub fn check(bytes: &[u8]) {
    if bytes.first() == MAGIC.first() || bytes.is_empty() {
        check_file(bytes);
        return;
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(dtype) = within_memory(bytes, || Dtype::parse(text))
    {
        check_dtype(&dtype);
    }
    let version = bytes.len() % 3 + 1;
    let mut file = MAGIC.to_vec();
    file.extend([u8::try_from(version).unwrap(), 0]);
    match version {
        1 => file.extend(u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_le_bytes()),
        _ => file.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes()),
    }
    file.extend_from_slice(bytes);
    check_file(&file);
}

fn check_file(bytes: &[u8]) {
    match within_memory(bytes, || Header::parse(bytes)) {
        Ok(header) => check_header(&header, bytes),
        Err(HeaderError::Incomplete { needed }) => {
            assert!(needed > bytes.len() as u64 && needed <= HEADER_BYTES_MAX + 12, "{needed} bytes are asked for");
        }
        Err(error) => {
            let text = error.to_string();
            assert!(!text.is_empty());
            assert!(text.len() < 20_000, "an endless error: {text}");
        }
    }
    let _ = within_memory(bytes, || Layout::from_header(bytes));
    check_inspection(bytes);
}

fn check_header(header: &Header, bytes: &[u8]) {
    let data_start = usize::try_from(header.data_start).unwrap();
    let own = &bytes[..data_start];
    // Rows behind the header change nothing, and any shorter start is incomplete.
    assert_eq!(Header::parse(own).as_ref(), Ok(header));
    for shorter in [0, 5, 7, 9, 11, data_start / 2, data_start - 1] {
        let parsed = Header::parse(&own[..shorter.min(data_start - 1)]);
        assert!(matches!(parsed, Err(HeaderError::Incomplete { .. })), "{shorter} bytes: {parsed:?}");
    }
    let end = header.data_start.checked_add(header.data_bytes());
    assert!(end.is_some_and(|end| end <= i64::MAX as u64), "the data ends at {end:?}");
    if let Some(rows) = header.rows() {
        assert_eq!(rows.checked_mul(header.row_bytes()), Some(header.data_bytes()));
    }
    check_dtype(&header.dtype);
    check_growth(header, own);
    check_layout(header);
}

/// What is written reads back, and is written the same again.
fn check_dtype(dtype: &Dtype) {
    for text in [dtype.descr(), dtype.literal()] {
        let read = Dtype::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(&read, dtype, "{text}");
        assert_eq!(read.itemsize(), dtype.itemsize());
        assert_eq!((read.descr(), read.literal()), (dtype.descr(), dtype.literal()));
    }
}

/// A header of ours for the same array.
fn check_layout(header: &Header) {
    let Ok(layout) = Layout::for_array(header) else { return };
    assert_eq!((layout.data_start() % 64, layout.window_offset() % 16), (0, 0));
    assert_eq!(layout.row_bytes(), header.row_bytes());
    let rows = header.rows().unwrap_or(0).min(layout.rows_max());
    for rows in [rows, 0, layout.rows_max()] {
        let written = layout.header(rows).unwrap();
        assert_eq!(written.len() as u64, layout.data_start());
        let read = Header::parse(&written).unwrap_or_else(|error| panic!("{error}: {}", written.escape_ascii()));
        assert_eq!((&read.dtype, read.rows(), read.data_start), (&header.dtype, Some(rows), layout.data_start()));
        if header.rows().is_some() {
            assert_eq!((read.row_shape(), read.fortran_order), (header.row_shape(), header.fortran_order));
        }
        assert_eq!(Layout::from_header(&written), Ok((layout.clone(), rows)));
        let window = Growth::Window { offset: layout.window_offset(), width: WINDOW_BYTES };
        assert_eq!(read.growth(), window);
    }
    assert!(layout.rows_max() == u64::MAX || layout.header(layout.rows_max() + 1).is_err());
}

/// Another count in the same header: nothing else may mean something else, and nothing may move.
fn check_growth(header: &Header, own: &[u8]) {
    let growth = header.growth();
    assert!(!growth.to_string().is_empty());
    let Some(rows_max) = header.rows_max_in_place() else {
        assert!(matches!(growth, Growth::None(_)), "{growth:?} and no largest count");
        assert!([0, 1, u64::MAX].into_iter().all(|rows| header.rewritten(own, rows).is_none()));
        return;
    };
    let rows = header.rows().unwrap();
    for count in [rows, rows.saturating_add(1), 0, 7, 10_000, rows_max / 3, rows_max] {
        let written = header.rewritten(own, count);
        assert_eq!(written.is_some(), count <= rows_max, "{count} rows of at most {rows_max}: {growth}");
        let Some(written) = written else { continue };
        assert_eq!(written.len(), own.len());
        if let Growth::Window { offset, width } = growth {
            let window = usize::try_from(offset).unwrap();
            assert!((WINDOW_BYTES_MIN..=WINDOW_BYTES).contains(&width), "a window of {width} bytes");
            assert!(window % WINDOW_BYTES + width <= WINDOW_BYTES, "{width} bytes at {window} are in two blocks");
            let differs = (0..own.len()).filter(|place| own[*place] != written[*place]);
            let all_inside = differs.into_iter().all(|place| (window..window + width).contains(&place));
            assert!(all_inside, "more than the window changes");
        }
        let read = Header::parse(&written).unwrap();
        assert_eq!(read.rows(), Some(count));
        assert_eq!(
            (read.version, &read.dtype, read.fortran_order),
            (header.version, &header.dtype, header.fortran_order)
        );
        assert_eq!((read.row_shape(), read.row_bytes()), (header.row_shape(), header.row_bytes()));
        assert_eq!(read.data_start, header.data_start);
        // And back, unless it has a window now, which is narrower than the room that there was.
        if read.rows_max_in_place().is_some_and(|rows_max| rows > rows_max) {
            assert!(matches!(growth, Growth::Room { .. }), "{growth:?} has lost room");
            assert!(matches!(read.growth(), Growth::Window { .. }), "room is lost for {:?}", read.growth());
            continue;
        }
        let back = read.rewritten(&written, rows).unwrap_or_else(|| panic!("no way back from {count} to {rows} rows"));
        let read = Header::parse(&back).unwrap();
        assert_eq!((&read.dtype, &read.shape, read.data_start), (&header.dtype, &header.shape, header.data_start));
    }
    assert!(rows_max == u64::MAX || header.rewritten(own, rows_max + 1).is_none());
}

/// The same file on the disk, against its header.
fn check_inspection(bytes: &[u8]) {
    FILE.with(|file| {
        file.set_len(0).unwrap();
        file.write_all_at(bytes, 0).unwrap();
        let inspection = within_memory(bytes, || inspect_file(file));
        let parsed = Header::parse(bytes);
        assert_eq!(inspection.is_ok(), parsed.is_ok(), "{inspection:?}, {parsed:?}");
        let Ok(inspection) = inspection else { return };
        assert_eq!(Ok(&inspection.header), parsed.as_ref());
        assert_eq!(inspection.file_bytes, bytes.len() as u64);
        assert_eq!(inspection.header_bytes.len() as u64, inspection.header.data_start);
        let (expected, present) = (inspection.data_bytes_expected, inspection.data_bytes_present);
        assert_eq!(inspection.header.data_start + present, inspection.file_bytes);
        let end = match inspection.tail {
            Tail::Exact => Some(expected),
            Tail::Past { bytes } => expected.checked_add(bytes).filter(|_| bytes > 0),
            Tail::Missing { bytes } => expected.checked_sub(bytes).filter(|_| bytes > 0),
        };
        assert_eq!(end, Some(present));
        if let Some(rows) = inspection.rows_present {
            assert!(rows * inspection.header.row_bytes() <= present);
        }
        assert_eq!(inspection.own_layout, Layout::from_header(bytes).is_ok());
    });
}

fn within_memory<T>(bytes: &[u8], work: impl FnOnce() -> T) -> T {
    let (result, peak) = memory::peak_bytes(work);
    let bytes_max = BYTES_MAX + bytes.len() * BYTES_PER_BYTE_MAX;
    assert!(peak <= bytes_max, "{peak} bytes of memory for {} bytes", bytes.len());
    result
}

fn file_without_name() -> File {
    let path = std::env::temp_dir().join(format!("npy-ingest-header-{}", std::process::id()));
    let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    file
}
