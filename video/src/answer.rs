//! Rows and words to standard output, in the protocol of workers. Rows go out in blocks, each with its times.

use std::io;
use std::time::{Duration, Instant};

use npy_ingest::decode::{DecodeError, RowSink};
use rustix::stdio;

/// Bytes of rows that are written at a time, at least one row.
const BLOCK_BYTES: usize = 1 << 20;
/// How often it is told that the work gets on.
const BEAT: Duration = Duration::from_millis(500);

/// See the module documentation.
pub struct Answer {
    row_bytes: usize,
    rows: Vec<u8>,
    times_s: Vec<f64>,
    told: Instant,
}

impl Answer {
    pub fn new() -> Self {
        // Fewer changes between the two processes. Only a wish: the kernel may not grant it.
        let _ = rustix::pipe::fcntl_setpipe_size(stdio::stdout(), BLOCK_BYTES);
        Self { row_bytes: 1, rows: Vec::new(), times_s: Vec::new(), told: Instant::now() }
    }

    /// Begins with a source whose rows have so many bytes.
    pub fn begin(&mut self, row_bytes: usize) {
        self.row_bytes = row_bytes.max(1);
        self.rows.clear();
        self.times_s.clear();
        self.told = Instant::now();
    }

    /// To be called with every step of the work.
    pub fn beat(&mut self) -> Result<(), DecodeError> {
        if self.told.elapsed() >= BEAT {
            self.told = Instant::now();
            write(b"working\n")?;
        }
        Ok(())
    }

    pub fn done(&mut self) -> io::Result<()> {
        self.flush()?;
        write(b"done\n")
    }

    pub fn error(&mut self, reason: &str) -> io::Result<()> {
        // The rows are not wanted.
        self.begin(1);
        write(format!("error {}\n", in_one_line(reason)).as_bytes())
    }

    fn flush(&mut self) -> io::Result<()> {
        let count = self.times_s.len();
        if count == 0 {
            return Ok(());
        }
        let mut head = format!("times {count}\n").into_bytes();
        head.extend(self.times_s.iter().flat_map(|time_s| time_s.to_le_bytes()));
        head.extend(format!("rows {count}\n").into_bytes());
        write(&head)?;
        write(self.rows.get(..count * self.row_bytes).unwrap_or_default())?;
        self.times_s.clear();
        write(b"working\n")?;
        self.told = Instant::now();
        Ok(())
    }
}

impl RowSink for Answer {
    fn row(&mut self, time_s: f64) -> Result<&mut [u8], DecodeError> {
        let count = self.times_s.len();
        if count > 0 && (count + 1) * self.row_bytes > BLOCK_BYTES {
            self.flush()?;
        }
        let start = self.times_s.len() * self.row_bytes;
        self.times_s.push(time_s);
        let end = start + self.row_bytes;
        if self.rows.len() < end {
            self.rows.resize(end, 0);
        }
        Ok(self.rows.get_mut(start..end).unwrap_or_default())
    }

    fn rows(&mut self, _count: usize) -> Result<&mut [u8], DecodeError> {
        self.row(0.0)
    }

    fn give_back(&mut self, count: usize) {
        self.times_s.truncate(self.times_s.len().saturating_sub(count));
    }

    fn rows_are_source(&mut self) {}

    fn note(&mut self, note: String) {
        // It fails when nobody listens, as the next write will.
        let _ = write(format!("note {}\n", in_one_line(&note)).as_bytes());
    }
}

/// Past std's own buffer, which would keep lines.
fn write(bytes: &[u8]) -> io::Result<()> {
    let mut left = bytes;
    while !left.is_empty() {
        match rustix::io::write(stdio::stdout(), left) {
            Ok(written) => left = left.get(written..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn in_one_line(text: &str) -> String {
    const BYTES_MAX: usize = 3000;
    let line: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    line.chars().take(BYTES_MAX / 4).collect()
}
