//! What the rows of a dataset mean, as text that can be kept beside them and compared.
//!
//! A dataset whose rows were made with one set of options must not grow with another: half of it would mean something
//! else, and nobody could see where. The fingerprint lists everything that gives a row its bytes, and nothing else:
//! folders, limits, times, and whether a bad line rejects its source may change freely.

mod audio;
mod logs;
mod video;

use super::choice::Choice;
use super::world::{Dataset, DecoderOptions, ImageOptions, Split};

/// Keys that ledgers made before have, and that mean nothing to the rows that are there.
pub const WITHOUT_MEANING: [&str; 3] = ["records.on_error", "csv.on_error", "gps.on_error"];

impl Dataset {
    /// The keys that determine the meaning of rows, with their values, always all of them and in the same order.
    ///
    /// Equal values give equal text, however the config spelled them (`"f4"` and `"<f4"`, `1` and `1.0`), and text
    /// that differs means values that differ.
    pub fn fingerprint(&self) -> Vec<(String, String)> {
        let mut keys = Keys(Vec::new());
        keys.add("shape", list(self.row.shape.iter().map(usize::to_string)));
        keys.add("dtype", self.row.dtype.descr());
        keys.add("columns.source", self.columns.source);
        keys.add("columns.index", self.columns.index);
        keys.add("columns.time", self.columns.time);
        keys.add("columns.label", if self.columns.label { "folder" } else { "false" });
        keys.add("columns.split", self.columns.split.as_ref().map_or("false".to_owned(), split));
        match &self.decoder {
            DecoderOptions::Image(options) => {
                image("image", options, &mut keys);
                keys.add("image.frames", options.frames.word());
            }
            DecoderOptions::Video(options) => video::video(options, &mut keys),
            DecoderOptions::Audio(options) => audio::audio(options, &mut keys),
            DecoderOptions::Records(options) => logs::records(options, &mut keys),
            DecoderOptions::Csv(options) => logs::csv(options, &mut keys),
            DecoderOptions::Gps(options) => logs::gps(options, &mut keys),
            DecoderOptions::Npy(options) => logs::npy(options, &mut keys),
            DecoderOptions::Command(options) => logs::command(options, &mut keys),
        }
        keys.0
    }
}

struct Keys(Vec<(String, String)>);

impl Keys {
    fn add(&mut self, key: &str, value: impl ToString) {
        self.0.push((key.to_owned(), value.to_string()));
    }
}

/// `table`: whose keys they are.
fn image(table: &str, options: &ImageOptions, keys: &mut Keys) {
    // Taken apart without `..`, so that a new option cannot be forgotten here.
    let ImageOptions {
        fit,
        filter,
        layout,
        // These five follow from shape, layout and dtype.
        channels: _,
        channel_axis: _,
        height: _,
        width: _,
        sample: _,
        big_endian: _,
        pad,
        scale,
        mean,
        std,
        orient,
        alpha,
        // Only of pictures; see the caller.
        frames: _,
    } = options;
    let mut add = |key: &str, value: String| keys.add(&format!("{table}.{key}"), value);
    add("fit", fit.word().to_owned());
    add("filter", filter.word().to_owned());
    add("layout", layout.word().to_owned());
    add("pad", numbers(pad));
    add("scale", number(*scale));
    add("mean", numbers(mean));
    add("std", numbers(std));
    add("orient", orient.to_string());
    add("alpha", alpha.word().to_owned());
}

fn split(split: &Split) -> String {
    let mut fields: Vec<_> =
        split.parts.iter().map(|(name, fraction)| format!("{name} = {}", number(*fraction))).collect();
    fields.push(format!("by = \"{}\"", split.by.word()));
    format!("{{ {} }}", fields.join(", "))
}

fn numbers(numbers: &[f64]) -> String {
    list(numbers.iter().map(|value| number(*value)))
}

/// The shortest decimal text that reads back as the same number, without an exponent. The two zeros are one.
fn number(value: f64) -> String {
    if value == 0.0 { "0".to_owned() } else { value.to_string() }
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn fingerprint(shape_and_dtype: &str, tables: &str) -> Vec<(String, String)> {
        let text = format!(
            "[[dataset]]\nname = 'a'\noutput = 'a.npy'\n{shape_and_dtype}\n[dataset.watch]\nfolders = ['in']\n{tables}"
        );
        let config = super::super::parse(&text, Path::new("/c/f.toml"));
        config.unwrap_or_else(|faults| panic!("{faults}")).datasets[0].fingerprint()
    }

    #[test]
    fn it_lists_every_key_that_makes_a_row() {
        let found = fingerprint(
            "shape = [3, 8, 9]\ndtype = 'f4'",
            "[dataset.image]\nlayout = 'chw'\nscale = 0.00392156862745098\nmean = [0.485, 0.456, 0.406]\nstd = 0.5\n\
             [dataset.columns]\nlabel = 'folder'\nsplit = { train = 0.9, val = 0.1, by = 'folder' }\n",
        );
        let expected = [
            ("shape", "[3, 8, 9]"),
            ("dtype", "<f4"),
            ("columns.source", "true"),
            ("columns.index", "true"),
            ("columns.time", "false"),
            ("columns.label", "folder"),
            ("columns.split", "{ train = 0.9, val = 0.1, by = \"folder\" }"),
            ("image.fit", "cover"),
            ("image.filter", "bilinear"),
            ("image.layout", "chw"),
            ("image.pad", "[0, 0, 0]"),
            ("image.scale", "0.00392156862745098"),
            ("image.mean", "[0.485, 0.456, 0.406]"),
            ("image.std", "[0.5, 0.5, 0.5]"),
            ("image.orient", "true"),
            ("image.alpha", "drop"),
            ("image.frames", "first"),
        ];
        assert_eq!(found, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn spelling_does_not_matter_and_meaning_does() {
        let row = "shape = [8, 9]\ndtype = '<f4'";
        let plain = fingerprint(row, "[dataset.image]\n");
        let spelled = "[dataset.image]\nscale = 1\nmean = -0.0\nstd = [1.0]\npad = 0\norient = true\n\
                       [dataset.columns]\nlabel = false\n[dataset.commit]\nmax_rows = 7\n";
        assert_eq!(plain, fingerprint(row, spelled));
        for (row, tables) in [
            ("shape = [8, 9]\ndtype = '>f4'", "[dataset.image]\n"),
            ("shape = [8, 9, 1]\ndtype = '<f4'", "[dataset.image]\n"),
            (row, "[dataset.image]\nscale = 1.0000000000000002\n"),
            (row, "[dataset.image]\nframes = 'all'\n"),
            (row, "[dataset.image]\n[dataset.columns]\nindex = false\n"),
            (row, "[dataset.image]\n[dataset.columns]\nsplit = { b = 0.5, a = 0.5 }\n"),
        ] {
            assert_ne!(plain, fingerprint(row, tables), "{row} {tables}");
        }
    }

    #[test]
    fn numbers_read_back_as_they_were() {
        for value in [0.1, 1.0 / 255.0, 1e-300, 1e300, -2.5, f64::MIN_POSITIVE] {
            let text = number(value);
            assert_eq!(text.parse::<f64>(), Ok(value));
            assert!(!text.contains('e'), "{text}");
        }
        assert_eq!(number(-0.0), "0");
    }
}
