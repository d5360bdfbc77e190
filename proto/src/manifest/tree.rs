//! YAML text as a tree in which every key and value knows where it stands.
//!
//! Works on the events of serde-saphyr's parser rather than through serde, because serde stops at
//! the first error and forgets positions in tagged values. Scalars stay text: what a plain
//! scalar means is decided by the field it is written for, so `version: 1.10` is never 1.1.
//!
//! Bounded throughout: nesting, and the size of the tree after aliases are expanded.

use std::collections::BTreeMap;

use serde_saphyr::granit_parser::{self, ErrorKind, Event, Parser, ScalarStyle, ScanError, Span};

/// Deepest nesting; the deepest manifest anybody needs has eight levels.
const DEPTH_MAX: usize = 32;
/// Most that the aliases of a document may expand to, in bytes of text plus [`NODE_WEIGHT`] for
/// each node: as much as the longest text, which no honest manifest comes near.
const WEIGHT_MAX: usize = super::TEXT_LEN_MAX;
/// Weight of a node besides its text, near its size in memory.
const NODE_WEIGHT: usize = 64;

/// Where something stands in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    /// First byte.
    pub offset: usize,
    /// Bytes.
    pub len: usize,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl Mark {
    /// The start of the text.
    pub(super) const START: Self = Self { offset: 0, len: 0, line: 1, column: 1 };

    fn of(span: Span) -> Self {
        let start = span.start;
        let offset = start.byte_offset().unwrap_or(0);
        let end = span.end.byte_offset().unwrap_or(offset);
        Self {
            offset,
            len: end.saturating_sub(offset),
            line: start.line(),
            column: start.col() + 1,
        }
    }
}

/// Something wrong at a place of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flaw {
    /// Where.
    pub mark: Mark,
    /// Field, as [`super::Fault::path`]; empty while there is none.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

impl Flaw {
    fn new(mark: Mark, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { mark, path: String::new(), message: message.into(), help: help.into() }
    }
}

/// One value with its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub mark: Mark,
    pub content: Content,
    weight: usize,
    depth: usize,
}

/// What a value holds.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// Text, and whether it was written without quotes.
    Scalar { text: String, plain: bool },
    /// Items in order.
    List(Vec<Node>),
    /// Fields in order; no key twice.
    Map(Vec<Field>),
}

/// One key with its value.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub key: String,
    pub mark: Mark,
    pub value: Node,
}

impl Node {
    fn new(mark: Mark, content: Content) -> Self {
        let (weight, depth) = match &content {
            Content::Scalar { text, .. } => (text.len(), 0),
            Content::List(items) => (
                items.iter().map(|item| item.weight).sum(),
                items.iter().map(|item| item.depth).max().unwrap_or(0),
            ),
            Content::Map(fields) => (
                fields.iter().map(|field| field.key.len() + field.value.weight).sum(),
                fields.iter().map(|field| field.value.depth).max().unwrap_or(0),
            ),
        };
        Self { mark, content, weight: weight + NODE_WEIGHT, depth: depth + 1 }
    }

    /// Returns whether nothing is written, or null.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.content, Content::Scalar { text, plain: true }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }
}

/// One document: its value, unless it is empty or broken, and what is wrong with its YAML.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub root: Option<Node>,
    pub flaws: Vec<Flaw>,
}

/// Reads every document of `text`; a broken one does not hide those after it.
pub(super) fn read(text: &str) -> Vec<Document> {
    let mut options = granit_parser::options! {
        disallow_directives: true,
        flow_nesting_limit: DEPTH_MAX,
        block_nesting_limit: DEPTH_MAX,
    };
    options.set_emit_comments(false);
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut documents = Vec::new();
    loop {
        match parser.next_event() {
            None | Some(Ok((Event::StreamEnd, _))) => return documents,
            Some(Ok((Event::DocumentStart(..), _))) => {
                let mut composer = Composer::new(&mut parser);
                let root = composer.node();
                let mut document = Document { root: None, flaws: composer.flaws };
                match root {
                    Ok(root) => document.root = root,
                    Err(flaw) => document.flaws.push(flaw),
                }
                let broken = !document.flaws.is_empty() && document.root.is_none();
                documents.push(document);
                if broken && !parser.proceed_next_document().unwrap_or(false) {
                    return documents;
                }
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                documents.push(Document { root: None, flaws: vec![syntax_flaw(&error)] });
                if !parser.proceed_next_document().unwrap_or(false) {
                    return documents;
                }
            }
        }
    }
}

type Source<'t> = Parser<'t, granit_parser::StrInput<'t>>;

/// Builds the tree of one document.
struct Composer<'p, 't> {
    parser: &'p mut Source<'t>,
    anchors: BTreeMap<usize, Node>,
    /// What aliases have expanded to so far.
    weight: usize,
    flaws: Vec<Flaw>,
}

impl<'p, 't> Composer<'p, 't> {
    fn new(parser: &'p mut Source<'t>) -> Self {
        Self { parser, anchors: BTreeMap::new(), weight: 0, flaws: Vec::new() }
    }

    fn event(&mut self) -> Result<(Event<'t>, Span), Flaw> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(syntax_flaw(&error)),
            None => Err(Flaw::new(Mark::START, "the text ends within a document", "complete it")),
        }
    }

    /// Returns the document's value; `None` if nothing is written.
    fn node(&mut self) -> Result<Option<Node>, Flaw> {
        let (event, span) = self.event()?;
        let node = self.value(event, span)?;
        Ok((!node.is_null()).then_some(node))
    }

    fn value(&mut self, event: Event<'t>, span: Span) -> Result<Node, Flaw> {
        let mark = Mark::of(span);
        if let Some(tag) = event.tag() {
            let tag = tag.original();
            let place = span.tag_span().map_or(mark, Mark::of);
            self.flaws.push(Flaw::new(
                place,
                format!("tag `{tag}` has no meaning in a manifest"),
                "leave the tag out; put a value in quotes to make it a text",
            ));
        }
        let (anchor, content) = match event {
            Event::Scalar(text, style, anchor, _) => {
                let plain = style == ScalarStyle::Plain;
                (anchor, Content::Scalar { text: text.into_owned(), plain })
            }
            Event::SequenceStart(_, anchor, _) => (anchor, self.list()?),
            Event::MappingStart(_, anchor, _) => (anchor, self.map()?),
            Event::Alias(id) => {
                let node = self.anchors.get(&id).cloned().ok_or_else(|| {
                    let help = "name a value that is complete where it is used";
                    Flaw::new(mark, "this alias refers to itself", help)
                })?;
                self.weight += node.weight;
                return self.bounded(node, mark);
            }
            other => {
                let message = format!("a value is expected here, not {other:?}");
                return Err(Flaw::new(mark, message, "check the indentation"));
            }
        };
        let node = Node::new(mark, content);
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        self.bounded(node, mark)
    }

    fn bounded(&self, node: Node, mark: Mark) -> Result<Node, Flaw> {
        if node.depth > DEPTH_MAX || self.weight > WEIGHT_MAX {
            let message = "the aliases here expand to more than a manifest may hold";
            return Err(Flaw::new(mark, message, "write the values out, or split the manifest"));
        }
        Ok(node)
    }

    fn list(&mut self) -> Result<Content, Flaw> {
        let mut items = Vec::new();
        loop {
            match self.event()? {
                (Event::SequenceEnd, _) => return Ok(Content::List(items)),
                (event, span) => items.push(self.value(event, span)?),
            }
        }
    }

    fn map(&mut self) -> Result<Content, Flaw> {
        let mut fields: Vec<Field> = Vec::new();
        let mut lines = BTreeMap::new();
        loop {
            let (event, span) = self.event()?;
            if event == Event::MappingEnd {
                return Ok(Content::Map(fields));
            }
            let key = self.value(event, span)?;
            let (event, span) = self.event()?;
            let value = self.value(event, span)?;
            let mark = key.mark;
            match key.content {
                Content::Scalar { text, plain: true } if text == "<<" => {
                    let help = "repeat the fields, or name the entire value with an alias";
                    return Err(Flaw::new(mark, "merge keys are not supported", help));
                }
                Content::Scalar { text, .. } => {
                    if let Some(line) = lines.get(&text) {
                        let message = format!("`{text}` is written twice; first on line {line}");
                        self.flaws.push(Flaw::new(mark, message, "keep one of the two"));
                    } else {
                        lines.insert(text.clone(), mark.line);
                        fields.push(Field { key: text, mark, value });
                    }
                }
                Content::List(_) | Content::Map(_) => {
                    let help = "a key is a plain word, such as `name`; put texts with braces in \
                                quotes";
                    self.flaws.push(Flaw::new(mark, "a key is a list or a map", help));
                }
            }
        }
    }
}

fn syntax_flaw(error: &ScanError) -> Flaw {
    let marker = error.marker();
    let mark = Mark {
        offset: marker.byte_offset().unwrap_or(0),
        len: 0,
        line: marker.line(),
        column: marker.col() + 1,
    };
    let help = match error.kind() {
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::TabInPlainScalar => "indent with spaces, never with tabs",
        ErrorKind::MappingValueNotAllowed => {
            "align fields of one map; put a text that holds `: ` in quotes"
        }
        ErrorKind::UnknownAnchor => "put a text that begins with `*` in quotes",
        ErrorKind::DirectiveDisallowed => "leave lines that begin with % out",
        ErrorKind::UnclosedQuotedScalar => "close the quote",
        ErrorKind::UnclosedFlowCollection { .. } => "close the bracket",
        ErrorKind::UnexpectedCharacter { .. } => {
            "put texts that begin with one of @ ` % in quotes; leave control characters out"
        }
        ErrorKind::RecursionLimitExceeded => "no manifest needs this many levels",
        _ => "check the indentation, quotes and brackets of this line and the one before",
    };
    Flaw::new(mark, format!("this is not YAML: {}", error.kind()), help)
}
