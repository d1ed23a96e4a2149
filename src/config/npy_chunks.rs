//! `[dataset.npy]`: arrays that other programs have made.

use super::choice::{Choice, choices};
use super::section::Section;
use super::world::{ChunkOrder, NpyOptions};

choices! {
    ChunkOrder { Exact = "exact", Convert = "convert" }
}

pub(super) fn read(section: Section<'_>) -> Option<NpyOptions> {
    let member = section.item("member").map_or(Some(None), |item| {
        item.text("the name of an array in an .npz archive").map(|name| Some(name.to_owned()))
    });
    let byte_order = section.choice("byte_order", ChunkOrder::Exact);
    section.finish();
    Some(NpyOptions { member: member?, byte_order })
}
