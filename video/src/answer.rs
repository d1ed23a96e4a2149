//! Rows and words to standard output, in the protocol of workers. Rows go out in blocks, each with its times, from a thread of
//! their own: while it waits for npy-ingest to read, the next block is made.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use npy_ingest::decode::{DecodeError, RowSink};
use rustix::stdio;

/// Bytes of rows that are written at a time, at least one row.
const BLOCK_BYTES: usize = 1 << 20;
/// How often it is told that the work gets on.
const BEAT: Duration = Duration::from_millis(500);

/// Blocks of more than this are not doubled: the next one waits until the last one is out.
const DOUBLED_BYTES_MAX: usize = 16 << 20;

/// See the module documentation.
pub struct Answer {
    row_bytes: usize,
    rows: Vec<u8>,
    times_s: Vec<f64>,
    /// Rows without times.
    samples: usize,
    told: Instant,
    /// `None` once it has ended.
    to_output: Option<SyncSender<Part>>,
    /// Buffers of rows that are out.
    spare: Receiver<Vec<u8>>,
    output: Option<JoinHandle<io::Result<()>>>,
}

/// What is written at one go.
struct Part {
    words: Vec<u8>,
    rows: Vec<u8>,
    row_bytes: usize,
}

impl Part {
    fn of(words: Vec<u8>) -> Self {
        Self { words, rows: Vec::new(), row_bytes: 0 }
    }
}

/// Makes room for a block in the pipe, for fewer changes between the two processes. To be called before the sandbox is entered.
pub fn widen_output() {
    // Only a wish: the kernel may not grant it.
    let _ = rustix::pipe::fcntl_setpipe_size(stdio::stdout(), BLOCK_BYTES);
}

impl Answer {
    /// # Errors
    /// There is no thread to be had.
    pub fn new() -> io::Result<Self> {
        let (to_output, parts) = sync_channel::<Part>(0);
        let (give_back, spare) = channel();
        let output = std::thread::Builder::new().name("output".to_owned()).spawn(move || {
            for Part { words, rows, row_bytes } in parts {
                write(&words)?;
                write(rows.get(..row_bytes).unwrap_or_default())?;
                if row_bytes > 0 {
                    write(b"working\n")?;
                }
                // Nobody waits for it at the end.
                let _ = give_back.send(rows);
            }
            Ok(())
        })?;
        Ok(Self {
            row_bytes: 1,
            rows: Vec::new(),
            times_s: Vec::new(),
            samples: 0,
            told: Instant::now(),
            to_output: Some(to_output),
            spare,
            output: Some(output),
        })
    }

    /// Begins with a source whose rows have so many bytes.
    pub fn begin(&mut self, row_bytes: usize) {
        self.row_bytes = row_bytes.max(1);
        self.rows.clear();
        self.times_s.clear();
        self.samples = 0;
        self.told = Instant::now();
    }

    /// To be called with every step of the work.
    pub fn beat(&mut self) -> Result<(), DecodeError> {
        if self.told.elapsed() >= BEAT {
            self.told = Instant::now();
            let Some(to_output) = &self.to_output else { return Err(self.end().into()) };
            let word = Part::of(b"working\n".to_vec());
            // While it is busy, npy-ingest has not read what there is.
            if let Err(TrySendError::Disconnected(_)) = to_output.try_send(word) {
                return Err(self.end().into());
            }
        }
        Ok(())
    }

    pub fn done(&mut self) -> io::Result<()> {
        self.flush()?;
        self.say(b"done\n".to_vec())
    }

    pub fn error(&mut self, reason: &str) -> io::Result<()> {
        // The rows are not wanted.
        self.begin(1);
        self.say(format!("error {}\n", in_one_line(reason)).into_bytes())
    }

    /// Rows of one number each, without times, behind [`Self::begin`] with their length.
    pub fn samples(&mut self, samples: &[f32]) -> io::Result<()> {
        for piece in samples.chunks(BLOCK_BYTES / size_of::<f32>()) {
            if (self.samples + piece.len()) * size_of::<f32>() > BLOCK_BYTES {
                self.flush()?;
            }
            let start = self.samples * size_of::<f32>();
            self.samples += piece.len();
            let end = self.samples * size_of::<f32>();
            if self.rows.len() < end {
                self.rows.resize(end, 0);
            }
            let (places, _) = self.rows.get_mut(start..end).unwrap_or_default().as_chunks_mut();
            for (place, sample) in places.iter_mut().zip(piece) {
                *place = sample.to_le_bytes();
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let (times, samples) = (self.times_s.len(), std::mem::take(&mut self.samples));
        let count = times + samples;
        if count == 0 {
            return Ok(());
        }
        let mut words = Vec::new();
        if times > 0 {
            words.extend(format!("times {times}\n").into_bytes());
            words.extend(self.times_s.drain(..).flat_map(f64::to_le_bytes));
        }
        words.extend(format!("rows {count}\n").into_bytes());
        let rows = std::mem::take(&mut self.rows);
        let is_large = rows.len() > DOUBLED_BYTES_MAX;
        self.send(Part { words, rows, row_bytes: count * self.row_bytes })?;
        let large = if is_large { self.spare.recv().ok() } else { None };
        // The largest of those that are back; buffers of words are empty.
        self.rows = self.spare.try_iter().chain(large).max_by_key(Vec::len).unwrap_or_default();
        self.told = Instant::now();
        Ok(())
    }

    fn say(&mut self, words: Vec<u8>) -> io::Result<()> {
        self.send(Part::of(words))
    }

    fn send(&mut self, part: Part) -> io::Result<()> {
        match &self.to_output {
            Some(to_output) if to_output.send(part).is_ok() => Ok(()),
            _ => Err(self.end()),
        }
    }

    /// Why the thread ended before its time.
    fn end(&mut self) -> io::Error {
        self.to_output = None;
        match self.output.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => error,
            _ => io::Error::other("the answer cannot be written any more"),
        }
    }
}

impl Drop for Answer {
    /// All that was said is out.
    fn drop(&mut self) {
        self.to_output = None;
        if let Some(output) = self.output.take() {
            // Where nobody reads, there is nobody to be told.
            drop(output.join());
        }
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

    fn note(&mut self, note: String) {
        // It fails when nobody listens, as the next word will.
        let _ = self.say(format!("note {}\n", in_one_line(&note)).into_bytes());
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
