//! What a connector's objects look like: layout, formats and names.

use model::names::RawObject;
use topics::TopicPartition;

use crate::format::Format;
use crate::layout::Layout;

/// Folder below `topics.dir` for what is written down about ranges of offsets; see `group`.
const PLANS: &str = "_haus_plans";

/// See the module documentation.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// `topics.dir`.
    pub topics_dir: String,
    /// `directory.delim`.
    pub directory_delimiter: String,
    /// `file.delim`.
    pub file_delimiter: String,
    /// `filename.offset.zero.pad.width`.
    pub offset_width: usize,
    /// `partitioner.class` and what belongs to it.
    pub layout: Layout,
    /// `format.class` and what belongs to it.
    pub format: Format,
    /// `keys.format.class`, when keys are stored.
    pub keys: Option<Format>,
    /// `headers.format.class`, when headers are stored.
    pub headers: Option<Format>,
    /// `partitioner.max.open.files`.
    pub open_files_max: Option<usize>,
    /// A range of offsets may make several objects, or objects with other names than the default: what the range is,
    /// is then written down before them.
    pub planned: bool,
}

/// Which part of a record an object holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Values.
    Values,
    /// Keys.
    Keys,
    /// Headers.
    Headers,
}

impl Shape {
    /// Name of what says how far the objects of a partition that begin at `start` reach: the object itself, or the plan.
    pub fn chain_key(&self, at: &TopicPartition, start: i64) -> String {
        RawObject {
            topics_dir: self.chain_dir(),
            topic: at.topic.to_string(),
            partition: at.partition.0,
            start_offset: start,
            extension: self.chain_extension(),
        }
        .to_string()
    }

    /// Prefix of these names.
    pub fn chain_prefix(&self, at: &TopicPartition) -> String {
        RawObject::partition_prefix(&self.chain_dir(), &at.topic, at.partition.0)
    }

    /// Extension of these names.
    pub fn chain_extension(&self) -> String {
        if self.planned { "json".into() } else { self.format.extension() }
    }

    fn chain_dir(&self) -> String {
        if self.planned { format!("{}/{PLANS}", self.topics_dir) } else { self.topics_dir.clone() }
    }

    /// The format of a part, when it is stored.
    pub fn format_of(&self, part: Part) -> Option<&Format> {
        match part {
            Part::Values => Some(&self.format),
            Part::Keys => self.keys.as_ref(),
            Part::Headers => self.headers.as_ref(),
        }
    }

    /// Name of an object that begins with the record at `first`.
    pub fn object_key(&self, at: &TopicPartition, folder: &str, first: i64, part: Part) -> String {
        let (dir, file) = (&self.directory_delimiter, &self.file_delimiter);
        let extension = self.format_of(part).map(Format::extension).unwrap_or_default();
        let part = match part {
            Part::Values => "",
            Part::Keys => ".keys",
            Part::Headers => ".headers",
        };
        format!(
            "{}{dir}{topic}{dir}{folder}{dir}{topic}{file}{}{file}{first:0width$}{part}.{extension}",
            self.topics_dir,
            at.partition,
            topic = at.topic,
            width = self.offset_width,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::Codec;
    use crate::format::Gzip;

    #[test]
    fn objects_are_named_as_confluents_sink_names_them() {
        let shape = Shape {
            topics_dir: "topics".into(),
            directory_delimiter: "/".into(),
            file_delimiter: "+".into(),
            offset_width: 10,
            layout: Layout::Default,
            format: Format::Json(Gzip::Level(None)),
            keys: Some(Format::Avro(Codec::Null)),
            headers: None,
            open_files_max: None,
            planned: true,
        };
        let at = TopicPartition::new("a.b", 2);
        let name = |part| shape.object_key(&at, "day=01", 7, part);
        assert_eq!(name(Part::Values), "topics/a.b/day=01/a.b+2+0000000007.json.gz");
        assert_eq!(name(Part::Keys), "topics/a.b/day=01/a.b+2+0000000007.keys.avro");
        assert_eq!(shape.chain_key(&at, 7), "topics/_haus_plans/a.b/partition=2/a.b+2+0000000007.json");
        let alone = Shape { planned: false, keys: None, ..shape.clone() };
        assert_eq!(alone.chain_key(&at, 7), alone.object_key(&at, "partition=2", 7, Part::Values));
    }
}
