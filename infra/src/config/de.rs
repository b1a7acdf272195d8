//! Hands a merged tree to serde, remembering at every value which key it stands under and where it came from.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, VariantAccess,
};
use serde::de::{Unexpected, Visitor};

use super::{ConfigError, Node, Source};

/// A failure, completed with key and source on its way up.
#[derive(Debug)]
pub(super) struct Failure {
    kind: Kind,
    key: Option<String>,
    origin: Option<Source>,
}

#[derive(Debug)]
enum Kind {
    Unknown(String, Vec<&'static str>),
    Message(String),
}

impl Failure {
    fn new(kind: Kind) -> Failure {
        Failure { kind, key: None, origin: None }
    }

    pub(super) fn into_config_error(self) -> ConfigError {
        match (self.kind, self.key, self.origin) {
            (Kind::Unknown(_, known), Some(key), Some(origin)) => {
                ConfigError::UnknownKey { key, origin, known }
            }
            (Kind::Message(message), Some(key), Some(origin)) => ConfigError::Value { key, origin, message },
            (Kind::Unknown(field, _), ..) => ConfigError::Shape(format!("unknown key `{field}`")),
            (Kind::Message(message), Some(key), None) => {
                ConfigError::Shape(format!("section `{key}`: {message}"))
            }
            (Kind::Message(message), ..) => ConfigError::Shape(message),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Unknown(field, _) => write!(f, "unknown key `{field}`"),
            Kind::Message(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Failure {}

impl de::Error for Failure {
    fn custom<T: fmt::Display>(message: T) -> Failure {
        Failure::new(Kind::Message(message.to_string()))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Failure {
        Failure::new(Kind::Unknown(field.to_owned(), expected.to_vec()))
    }
}

/// A place in the tree.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    node: &'a Node,
    key: Option<&'a Path<'a>>,
}

/// The way to a place, from the leaf up.
struct Path<'a> {
    name: &'a str,
    above: Option<&'a Path<'a>>,
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(above) = self.above {
            write!(f, "{above}.")?;
        }
        f.write_str(self.name)
    }
}

/// The source of a value, or of the first value in a section.
pub(super) fn origin_of(node: &Node) -> Option<Source> {
    match node {
        Node::Leaf(source, _) | Node::Text(source, _) => Some(source.clone()),
        Node::Table(table) => table.values().find_map(origin_of),
    }
}

impl<'a> At<'a> {
    pub(super) fn root(node: &'a Node) -> At<'a> {
        At { node, key: None }
    }

    fn complete(&self, mut failure: Failure) -> Failure {
        if failure.key.is_none() {
            failure.key = self.key.map(Path::to_string);
            failure.origin = origin_of(self.node);
        }
        failure
    }

    fn mistyped(&self, text: &str, visitor: &dyn de::Expected) -> Failure {
        self.complete(de::Error::invalid_value(Unexpected::Str(text), visitor))
    }

    /// Runs one of serde's calls on a value of the file.
    fn leaf<T>(&self, run: impl FnOnce(toml::Value) -> Result<T, toml::de::Error>) -> Result<T, Failure> {
        match self.node {
            Node::Leaf(_, value) => {
                run(value.clone()).map_err(|error| self.complete(de::Error::custom(error.message())))
            }
            Node::Text(_, text) => {
                run(guess(text)).map_err(|error| self.complete(de::Error::custom(error.message())))
            }
            Node::Table(_) => Err(self.complete(de::Error::custom("a value is wanted here, not a section"))),
        }
    }
}

/// The value that a text would be in a TOML file; what isn't one is a string.
fn guess(text: &str) -> toml::Value {
    let parsed = toml::from_str::<toml::Table>(&format!("v = {text}")).ok();
    let value = parsed.filter(|table| table.len() == 1).and_then(|mut table| table.remove("v"));
    value.unwrap_or_else(|| toml::Value::String(text.to_owned()))
}

/// Numbers and booleans: a text is parsed as what the field wants.
macro_rules! scalar {
    ($($method:ident $visit:ident $type:ty),* $(,)?) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
            match self.node {
                Node::Text(_, text) => match text.parse::<$type>() {
                    Ok(value) => visitor.$visit(value).map_err(|failure| self.complete(failure)),
                    Err(_) => Err(self.mistyped(text, &visitor)),
                },
                _ => self.leaf(|value| value.$method(visitor)),
            }
        }
    )*};
}

macro_rules! text {
    ($($method:ident),* $(,)?) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
            match self.node {
                Node::Text(_, text) => visitor.visit_str(text).map_err(|failure: Failure| self.complete(failure)),
                _ => self.leaf(|value| value.$method(visitor)),
            }
        }
    )*};
}

impl<'de, 'a> Deserializer<'de> for At<'a> {
    type Error = Failure;

    scalar!(
        deserialize_bool visit_bool bool,
        deserialize_i8 visit_i8 i8,
        deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64,
        deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
        deserialize_f32 visit_f32 f32,
        deserialize_f64 visit_f64 f64,
        deserialize_char visit_char char,
    );

    text!(
        deserialize_str,
        deserialize_string,
        deserialize_bytes,
        deserialize_byte_buf,
        deserialize_identifier
    );

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.node {
            Node::Table(_) => self.deserialize_map(visitor),
            _ => self.leaf(|value| value.deserialize_any(visitor)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_any(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.deserialize_any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.leaf(|value| value.deserialize_seq(visitor))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let Node::Table(table) = self.node else {
            return Err(self.complete(de::Error::custom("a section is wanted here, not a value")));
        };
        let section = Section { entries: table.iter(), value: None, above: self.key };
        visitor.visit_map(section).map_err(|failure| self.name_unknown(table, failure))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        match self.node {
            Node::Text(_, text) => {
                let variant: StrDeserializer<'_, Failure> = text.as_str().into_deserializer();
                visitor.visit_enum(variant).map_err(|failure| self.complete(failure))
            }
            Node::Table(table) if table.len() == 1 => visitor.visit_enum(Variant(self, table)),
            Node::Table(_) => Err(self.complete(de::Error::custom("one variant is wanted here"))),
            Node::Leaf(..) => self.leaf(|value| value.deserialize_enum(name, variants, visitor)),
        }
    }

    /// serde skips what the struct has no field for: to us that is an unknown key.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Failure> {
        let name = self.key.map_or_else(String::new, Path::to_string);
        Err(self.complete(Failure::new(Kind::Unknown(name, Vec::new()))))
    }
}

impl At<'_> {
    fn name_unknown(&self, table: &BTreeMap<String, Node>, mut failure: Failure) -> Failure {
        if let (Kind::Unknown(field, _), None) = (&failure.kind, &failure.key) {
            let path = Path { name: field, above: self.key };
            failure.origin = table.get(field).and_then(origin_of);
            failure.key = Some(path.to_string());
        }
        self.complete(failure)
    }
}

struct Section<'a> {
    entries: btree_map::Iter<'a, String, Node>,
    value: Option<(&'a str, &'a Node)>,
    above: Option<&'a Path<'a>>,
}

impl<'de> MapAccess<'de> for Section<'_> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Failure> {
        let Some((key, node)) = self.entries.next() else { return Ok(None) };
        self.value = Some((key, node));
        let name: StrDeserializer<'_, Failure> = key.as_str().into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Failure> {
        let (name, node) =
            self.value.take().ok_or_else(|| <Failure as de::Error>::custom("a value before its key"))?;
        let path = Path { name, above: self.above };
        let at = At { node, key: Some(&path) };
        seed.deserialize(at).map_err(|failure| at.complete(failure))
    }
}

/// An enum written as a section with one key.
struct Variant<'a>(At<'a>, &'a BTreeMap<String, Node>);

impl<'de, 'a> EnumAccess<'de> for Variant<'a> {
    type Error = Failure;
    type Variant = Content<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Content<'a>), Failure> {
        let (name, node) =
            self.1.iter().next().ok_or_else(|| <Failure as de::Error>::custom("an empty section"))?;
        let variant: StrDeserializer<'_, Failure> = name.as_str().into_deserializer();
        let value = seed.deserialize(variant).map_err(|failure| self.0.complete(failure))?;
        Ok((value, Content { node, name, above: self.0.key }))
    }
}

struct Content<'a> {
    node: &'a Node,
    name: &'a str,
    above: Option<&'a Path<'a>>,
}

impl Content<'_> {
    fn run<T>(&self, call: impl FnOnce(At<'_>) -> Result<T, Failure>) -> Result<T, Failure> {
        let path = Path { name: self.name, above: self.above };
        call(At { node: self.node, key: Some(&path) })
    }
}

impl<'de> VariantAccess<'de> for Content<'_> {
    type Error = Failure;

    fn unit_variant(self) -> Result<(), Failure> {
        self.run(|at| Err(at.complete(de::Error::custom("this variant has no content"))))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Failure> {
        self.run(|at| seed.deserialize(at))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Failure> {
        self.run(|at| at.deserialize_seq(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.run(|at| at.deserialize_map(visitor))
    }
}
