//! The `.npy` reader and the growing header against NumPy itself, in both directions.
//!
//! Needs a Python with NumPy (1.26 or 2): its path in the environment variable `NPY_INGEST_PYTHON`.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use npy_ingest::npy::{Dtype, DtypeError, Growth, Header, HeaderError, Layout, MAGIC, Tail, Version, inspect};

/// Runs a script in the folder and returns what it prints, one item a line.
fn python(folder: &Path, script: &str) -> Vec<String> {
    let python = std::env::var_os("NPY_INGEST_PYTHON").filter(|path| !path.is_empty()).expect(
        "NPY_INGEST_PYTHON is not set: these tests compare with NumPy and need the path of a Python that has it, \
         for example NPY_INGEST_PYTHON=/usr/bin/python3",
    );
    let output = Command::new(&python)
        .args(["-W", "ignore", "-c", script])
        .current_dir(folder)
        .env("PYTHONIOENCODING", "utf-8")
        .output()
        .unwrap_or_else(|error| panic!("NPY_INGEST_PYTHON={}: {error}", python.display()));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "NPY_INGEST_PYTHON={} failed:\n{errors}", python.display());
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The columns of a line.
fn columns<const COUNT: usize>(line: &str) -> [&str; COUNT] {
    let columns: Vec<&str> = line.split('\t').collect();
    columns.try_into().unwrap_or_else(|columns| panic!("{columns:?} are not {COUNT} columns"))
}

/// Shared by the scripts: many dtypes, hand-picked and random ones.
const DTYPES: &str = r#"
import random
import numpy as np

def dtypes():
    for code in ["i2", "i4", "i8", "u2", "u4", "u8", "f2", "f4", "f8", "f16", "c8", "c16", "c32", "U1", "U7", "M8",
                 "m8", "M8[us]", "M8[25us]", "m8[7D]", "M8[Y]", "m8[as]", "M8[1000ps]", "m8[2W]", "M8[3M]", "M8[h]"]:
        yield np.dtype("<" + code)
        yield np.dtype(">" + code)
    for code in ["?", "i1", "u1", "S1", "S16", "V1", "V12"]:
        yield np.dtype(code)
    yield np.dtype([("a", "<u2"), ("b", "<f4", (3,))])
    yield np.dtype([("a", "u1"), ("b", "<f8"), ("c", ">u2")], align=True)
    yield np.dtype([("a", "u1"), ("b", [("x", "<i2"), ("y", "<f8")], (2, 1)), ("c", ">u2")], align=True)
    yield np.dtype({"names": ["a", "b"], "formats": ["u1", "<f4"], "offsets": [3, 11], "itemsize": 32})
    yield np.dtype({"names": ["a"], "formats": [("<f4", (2, 2))], "offsets": [5], "titles": ["first"]})
    yield np.dtype([(("a title", "a"), "<f4", (2,)), (("it's", 'say "hi"'), "u1")])
    yield np.dtype([("a", ("<f4", (2,)), (3,))])
    yield np.dtype([("a", np.dtype(([("q", "<f4", (2,))], (4,))), (3,))])
    yield np.dtype([("a", "V3"), ("b", "S0"), ("c", "u1", (0,))])
    yield np.dtype([("a\n\t\\\0", "u1"), ("b c", "u1"), ("'\"", "u1"), ("\x7f\x85", "u1")])
    yield np.dtype([("\u00e9\u00ad\u00a0", "u1"), ("\u00ff", "<f4")])
    yield np.dtype([("\u540d\u524d", "u1"), ("\U0001f600", "<f4"), ("e\u0301\u200b", "u1"), ("\u0416", [("\u0417", "u1")])])
    chance = random.Random(20)
    def scalar():
        code = chance.choice(["?", "i1", "<i2", ">i4", "u1", "<u8", "<f2", ">f8", "<c8", "S3", "<U2", "V5", "<M8[ms]", ">m8[10s]"])
        return np.dtype(code)
    def struct(depth):
        names, formats, titles = [], [], []
        for index in range(chance.randint(1, 5)):
            inner = struct(depth - 1) if depth and chance.random() < 0.4 else scalar()
            shape = tuple(chance.randint(1, 3) for _ in range(chance.choice([0, 0, 1, 2])))
            names.append(chance.choice(["x", "field ", "\u00e9", "'", "\u540d"]) + str(index))
            titles.append(chance.choice([None, None, f"title {index}"]))
            formats.append(np.dtype((inner, shape)) if shape else inner)
        fields = {"names": names, "formats": formats, "titles": titles}
        if chance.random() < 0.4:
            offset, offsets = chance.randint(0, 3), []
            for format in formats:
                offsets.append(offset)
                offset += format.itemsize + chance.choice([0, 0, 1, 7])
            fields.update(offsets=offsets, itemsize=offset + chance.randint(0, 2))
            return np.dtype(fields)
        return np.dtype(fields, align=chance.random() < 0.3)
    for _ in range(300):
        yield struct(3)
"#;

#[test]
fn descriptors_of_numpy_read_and_write_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!(
        "{DTYPES}
for dtype in dtypes():
    print(repr(np.lib.format.dtype_to_descr(dtype)), dtype.itemsize, sep='\\t')
"
    );
    let lines = python(folder.path(), &script);
    assert!(lines.len() > 300);
    for line in lines {
        let [descr, itemsize] = columns(&line);
        let dtype = Dtype::parse(descr).unwrap_or_else(|error| panic!("{descr}: {error}"));
        assert_eq!(dtype.itemsize(), itemsize.parse::<usize>().unwrap(), "{descr}");
        assert_eq!(dtype.literal(), descr);
    }
}

/// What people and other programs may write, right and wrong, one Python literal a line.
const DESCRIPTORS: &str = r#"
'u1' '|u1' '<u1' '>u1' '=u1' '?' '|?' 'b' 'B' 'h' 'H' 'i' 'I' 'l' 'L' 'q' 'Q' 'p' 'P' 'e' 'f' 'd' 'g' 'F' 'D' 'G' 'c'
'i3' 'u16' 'f16' '>f16' 'f1' 'f10' 'c4' 'c64' 'b2' 'u' 'x' '' '<' '|' 'S' 'S0' '>S5' '=U5' '|U5' 'V' 'S-1' 'i04' 'c1'
'M' 'm' 'M8' '|M8[us]' 'M8[generic]' 'M8[0s]' 'M8[1s]' 'M8[2147483647s]' 'M8[2147483648s]' 'M8[-1s]' 'M8[B]' 'M8[]'
'M8[μs]' 'M8[ s]' 'M4[us]' 'M8[us]x' 'M8[us' 'M[us]' 'datetime64[25us]' '<datetime64[us]' 'timedelta64' 'i8[us]' 'f4[2]'
'float32' 'float16' 'float64' 'longdouble' 'complex64' 'int' 'uint' 'float' 'bool' 'half' 'single' 'double' 'intp'
'byte' 'ubyte' 'short' 'long' 'ulonglong' 'str' 'bytes' 'void' '>float32' '<float32' 'flaot' ' f4' 'f4 ' 'uint8'
'S2147483647' 'S2147483648' 'U536870911' 'U536870912' 'T' 'O' '|O' 'object' 'f4,i4' '2f4' '(2,3)f4' 'M8[s/10]'
[('a','<u2'),('b','<f4',(3,))] [('a','<u2',3)] [('a','<u2',())] [('a','<u2',(1,))] [('a','<u2',[2,3])] [('a','<u2',(-1,))]
[('a','<u2',('x',))] [('a','<u2',(2.0,))] [('a','<u2',True)] [('a','<u2',None)] [('a','<u2',(0,))] [] [('a',[])]
[('','|V3'),('a','u1')] [('a','u1'),('','|V3')] [('','|V3')] [('','|V3',(2,))] [('','|V0'),('a','u1')] [('','<f4')]
[('','<f4'),('','<f4')] [('',[('x','u1')])] [('',[('q','u1')],(2,))] [('','<f4',(2,)),('a','u1')] [(('t',''),'|V3')]
[('a','u1'),('a','u1')] [(('t','n'),'<f4')] [(('t','n'),'<f4'),('t','u1')] [(('n','n'),'<f4')] [(('','n'),'<f4')]
[((None,'n'),'<f4')] [((1,'n'),'<f4')] [(('t','n','x'),'<f4')] [(('t',),'<f4')] [(('t','n'),'<f4'),(('t','m'),'<f4')]
[('a',)] [('a','u1',(2,),3)] ['a'] [['a','u1']] [()] [('a','O')] [(1,'u1')] [('a',1)] [('a',None)] [(b'a','u1')]
[('a',('<f4',(2,)))] [('a',('<f4',(2,)),(3,))] ('<f4',(2,3)) ('<f4',2) ('<f4',()) (('<f4',(2,)),(3,)) ('<f4',)
[('a','S',5)] [('a','S',(5,))] [('a','|S0',(2,))] [('a','V',3)] [('a','|U0',2)] ('S',5) ('S',()) [('a','S',0)] [('a','S',-1)]
[('a','u1',(2147483647,)),('b','u1')] [('a','u2',(2147483647,))] [('a','u1',(65536,65536))] [('a','u1',(2147483647,))]
[('a','<U536870911',(2,))] [('a','u1',(65536,65536,0))] [('a','u1',(2147483647,2147483647,2147483647,0))] [('a',[],(2147483647,2147483647))] [('a','S2147483647'),('','V1')] {'names':['a'],'formats':['u1']}
None 1 () b'u1' [('a','u1',(1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1))]
"#;

#[test]
fn descriptors_are_taken_and_refused_as_numpy_does() {
    let folder = tempfile::tempdir().unwrap();
    let texts: Vec<String> = split_literals(DESCRIPTORS);
    fs::write(folder.path().join("descriptors"), texts.join("\n")).unwrap();
    let lines = python(
        folder.path(),
        r#"
import ast
import numpy as np
for line in open("descriptors", encoding="utf-8").read().split("\n"):
    try:
        dtype = np.lib.format.descr_to_dtype(ast.literal_eval(line))
        # NumPy 1.26 makes negative sizes of 'S-1' and 'S2147483648'.
        if dtype.itemsize < 0: raise ValueError
        print(repr(np.lib.format.dtype_to_descr(dtype)), dtype.itemsize, sep="\t")
    except Exception as error:
        print("refused", type(error).__name__, sep="\t")
"#,
    );
    assert_eq!(lines.len(), texts.len());
    let mut stricter = Vec::new();
    for (text, line) in texts.iter().zip(&lines) {
        let [descr, itemsize] = columns(line);
        match Dtype::parse(text) {
            Ok(ours) => {
                assert_ne!(descr, "refused", "{text} is refused by NumPy and read as {ours}");
                assert_eq!(ours.itemsize().to_string(), itemsize, "{text}");
                // The descriptor of a bare subarray loses what it repeats.
                assert!(ours.literal() == descr || ours.subarray().is_some(), "{text}: {ours} and {descr}");
            }
            Err(error) if descr != "refused" => {
                assert!(is_stricter(&error), "{text} is {descr} to NumPy, and refused: {error}");
                stricter.push(text.as_str());
            }
            Err(_) => {}
        }
    }
    assert!(stricter.len() < 12, "more refusals than agreed: {stricter:?}");
}

/// What is refused on purpose although NumPy takes it.
fn is_stricter(error: &DtypeError) -> bool {
    match error {
        DtypeError::InField { source, .. } => is_stricter(source),
        DtypeError::Objects { .. }
        | DtypeError::VariableWidth { .. }
        | DtypeError::Shorthand { .. }
        | DtypeError::TimeDivisor { .. }
        | DtypeError::FieldTitle { .. } => true,
        // To NumPy a control character is a type by its internal number ('\x04' is `u2`), and numbers are read by C's
        // `strtol`, with spaces and a sign. Nobody writes either; a damaged header does.
        DtypeError::Unknown { text } | DtypeError::Length { text, .. } | DtypeError::TimeUnit { text } => {
            text.contains(|character: char| character.is_ascii_control() || matches!(character, ' ' | '+'))
        }
        _ => false,
    }
}

/// Splits at white space outside quotes and brackets.
fn split_literals(text: &str) -> Vec<String> {
    let mut literals = vec![String::new()];
    let (mut depth, mut quoted) = (0, false);
    for character in text.chars() {
        match character {
            '\'' => quoted = !quoted,
            '(' | '[' | '{' if !quoted => depth += 1,
            ')' | ']' | '}' if !quoted => depth -= 1,
            _ => {}
        }
        if character.is_whitespace() && depth == 0 && !quoted {
            literals.push(String::new());
        } else {
            literals.last_mut().unwrap().push(character);
        }
    }
    literals.retain(|literal| !literal.is_empty());
    literals
}

#[test]
fn files_of_numpy_are_measured_and_grow() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!(
        "{DTYPES}
shapes = [(), (0,), (1,), (7,), (9, 1), (10, 2), (3, 2, 4), (99, 3), (2, 0), (0, 3), (2, 3, 1, 2)]
number = 0
chance = random.Random(5)
for index, dtype in enumerate(dtypes()):
    for shape in shapes if index % 40 == 0 else [chance.choice(shapes)]:
        for version in [(1, 0), (2, 0), (3, 0)]:
            for order in 'CF':
                array = np.zeros(shape, dtype, order=order)
                name = f'{{number}}.npy'
                number += 1
                try:
                    with open(name, 'wb') as file:
                        np.lib.format.write_array(file, array, version)
                except UnicodeEncodeError:
                    continue
                fortran = array.flags.f_contiguous and not array.flags.c_contiguous
                print(name, version[0], repr(np.lib.format.dtype_to_descr(array.dtype)), str(shape), fortran, array.nbytes, sep='\\t')
"
    );
    let lines = python(folder.path(), &script);
    assert!(lines.len() > 1_000);
    let mut grown = Vec::new();
    for line in &lines {
        let [name, version, descr, shape, fortran, data_bytes] = columns(line);
        let path = folder.path().join(name);
        let found = inspect(&path).unwrap_or_else(|error| panic!("{line}: {error}"));
        let header = &found.header;
        assert_eq!(header.version.bytes()[0].to_string(), version, "{line}");
        assert_eq!(header.dtype.literal(), descr);
        assert_eq!(shape_text(&header.shape), shape, "{line}");
        assert_eq!(header.fortran_order, fortran == "True", "{line}");
        assert_eq!(header.data_bytes().to_string(), data_bytes, "{line}");
        assert_eq!(found.tail, Tail::Exact, "{line}");
        // NumPy leaves padding for a count of 21 digits since 1.25, in which a window of 11 finds its place.
        match found.growth {
            Growth::Room { spare_bytes } => {
                let digits = header.rows().unwrap().to_string().len();
                assert!(spare_bytes + digits >= 11, "{line}: {spare_bytes}");
            }
            Growth::Window { .. } => panic!("{line}: NumPy writes no windows"),
            Growth::None(_) => {
                assert!(header.shape.is_empty() || header.row_bytes() == 0, "{line}");
                continue;
            }
        }
        // Five rows more, in place; the row's bytes stand behind the others in either order.
        let rows = header.rows().unwrap() + 5;
        let mut bytes = header.rewritten(&found.header_bytes, rows).unwrap();
        bytes.extend_from_slice(&fs::read(&path).unwrap()[bytes.len()..]);
        bytes.resize(bytes.len() + usize::try_from(5 * header.row_bytes()).unwrap(), 0);
        fs::write(&path, bytes).unwrap();
        let mut shape = header.shape.clone();
        *if header.fortran_order { shape.last_mut() } else { shape.first_mut() }.unwrap() = rows;
        grown.push((name, shape_text(&shape), fortran, descr));
    }
    assert_loads(
        folder.path(),
        &grown
            .iter()
            .map(|(name, shape, fortran, descr)| format!("{name}\t{shape}\t{fortran}\t{descr}"))
            .collect::<Vec<_>>(),
    );
}

/// Python's `str` of a shape.
fn shape_text(shape: &[u64]) -> String {
    match shape {
        [single] => format!("({single},)"),
        _ => format!("({})", shape.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")),
    }
}

/// NumPy opens each file, both ways unless it is large, and finds what the line says.
fn assert_loads(folder: &Path, expected: &[String]) {
    fs::write(folder.join("expected"), expected.join("\n")).unwrap();
    let lines = python(
        folder,
        r#"
import os
import numpy as np
try:
    from numpy.lib import _format_impl as format
except ImportError:
    from numpy.lib import format
for line in open("expected", encoding="utf-8", newline="\n").read().split("\n"):
    name, shape, fortran, descr = line.split("\t")
    small = os.path.getsize(name) < 1 << 20
    length = 1 << 21
    for mode in ["r", None] if small else ["r"]:
        try:
            array = np.load(name, mmap_mode=mode, max_header_size=length)
            with open(name, "rb") as file:
                version = format.read_magic(file)
                header = format._read_array_header(file, version, max_header_size=length)
            found = (str(array.shape), str(header[1]), repr(np.lib.format.dtype_to_descr(array.dtype)))
        except Exception as error:
            found = (type(error).__name__, str(error))
        if found != (shape, fortran, descr):
            print(line, mode, *found, sep="\t")
"#,
    );
    assert!(lines.is_empty(), "{} of {} differ:\n{}", lines.len(), expected.len(), lines.join("\n"));
}

#[test]
fn numpy_opens_our_files() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!("{DTYPES}\nfor dtype in dtypes():\n    print(repr(np.lib.format.dtype_to_descr(dtype)))\n");
    let mut descriptors = python(folder.path(), &script);
    let many = (0..4_000).map(|index| (format!("field_number_{index}"), Dtype::u1()));
    descriptors.push(Dtype::structured(many).unwrap().literal());
    let shapes: [&[usize]; 5] = [&[], &[1], &[3, 2], &[224, 224, 3], &[2, 1, 3, 1, 2]];
    let mut expected = Vec::new();
    for (index, descr) in descriptors.iter().enumerate() {
        let dtype = Dtype::parse(descr).unwrap();
        let shape = shapes[index % shapes.len()];
        for fortran in [false, true] {
            let layout = if fortran { Layout::fortran(&dtype, shape) } else { Layout::new(&dtype, shape) }.unwrap();
            for rows in [0, 1, 1_000_003] {
                // Sparse, but ext4 ends a file at 16 TiB.
                let rows = rows.min((1 << 40) / layout.row_bytes());
                let name = format!("{index}-{fortran}-{rows}.npy");
                let mut file = fs::File::create(folder.path().join(&name)).unwrap();
                file.write_all(&layout.header(rows).unwrap()).unwrap();
                file.set_len(layout.data_start() + rows * layout.row_bytes()).unwrap();
                let mut full: Vec<u64> = shape.iter().map(|dimension| *dimension as u64).collect();
                full.insert(if fortran { full.len() } else { 0 }, rows);
                expected.push(format!("{name}\t{}\t{}\t{descr}", shape_text(&full), python_bool(fortran)));
                let found = inspect(&folder.path().join(&name)).unwrap();
                assert_eq!((found.rows, found.tail, found.own_layout), (Some(rows), Tail::Exact, true), "{name}");
            }
        }
    }
    assert!(expected.len() > 1_000);
    assert_loads(folder.path(), &expected);
}

fn python_bool(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

#[test]
fn numpy_sees_the_rows_that_were_counted() {
    let folder = tempfile::tempdir().unwrap();
    let dtype = Dtype::parse("<u2").unwrap();
    let layout = Layout::new(&dtype, &[2]).unwrap();
    let mut bytes = layout.header(3).unwrap();
    for value in 0_u16..8 {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    fs::write(folder.path().join("rows.npy"), bytes).unwrap();
    let lines = python(
        folder.path(),
        "import numpy as np\nfor mode in ['r', None]:\n    print(np.load('rows.npy', mmap_mode=mode).tolist())\n",
    );
    assert_eq!(lines, ["[[0, 1], [2, 3], [4, 5]]"; 2]);
}

/// Headers that are wrong, or right in an unusual way.
const HEADER_TEXTS: [&str; 52] = [
    "",
    "{}",
    "[]",
    "None",
    "{,}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }",
    "{'shape': (3,), 'fortran_order': True, 'descr': '<f4'}",
    "{\"descr\":\"<f4\",\"fortran_order\":False,\"shape\":(3,)}",
    "{u'descr': '<f4', 'fortran_order': False, 'shape': (3,) }",
    "{b'descr': '<f4', 'fortran_order': False, 'shape': (3,) }",
    "{'des' 'cr': '''<f4''', 'fortran_order': False, 'shape': (+3,) }",
    "{'descr': r'<f4', 'fortran_order': False, 'shape': (\\\n3,) }",
    "{'descr': '\\x3cf4', 'fortran_order': False, 'shape': (3,) }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), 'extra': 1}",
    "{'descr': '<f4', 'fortran_order': False}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), 'shape': (2,)}",
    "{'descr': '<f4', 'fortran_order': 0, 'shape': (3,), }",
    "{'descr': '<f4', 'fortran_order': 'False', 'shape': (3,), }",
    "{'descr': '<f4', 'fortran_order': false, 'shape': (3,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': 3, }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (3), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': [3], }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (3.0,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': ('3',), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (-3,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (--3,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (True,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (3,,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (3 4), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), } }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), },",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), };",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (3,) } # a comment",
    "{'descr': '<f4', # a comment\n 'fortran_order': False, 'shape': (3,) }",
    "\n{'descr': '<f4', 'fortran_order': False, 'shape': (3,) }\n\n",
    "\n  {'descr': '<f4', 'fortran_order': False, 'shape': (3,) }",
    " \t{'descr': '<f4', 'fortran_order': False, 'shape': (3,) }",
    "({'descr': '<f4', 'fortran_order': False, 'shape': (((3)),) })",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (3,) }\0",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (3,) }\u{a0}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (3,) }\u{c}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (3L,) }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (3l,) }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (01,) }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (00, 0x3, 1_0, 0b1, 0o7) }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1__0,) }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': () }",
    "{'descr': [], 'fortran_order': False, 'shape': (3,) }",
    "{'descr': '<f4, 'fortran_order': False, 'shape': (3,) }",
    "{'descr': None, 'fortran_order': False, 'shape': (3,) }",
    "{'descr': '<i3', 'fortran_order': False, 'shape': (3,) }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,) }",
];

fn framed(version: Version, text: &[u8]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&version.bytes());
    let length = u32::try_from(text.len() + 1).unwrap().to_le_bytes();
    bytes.extend_from_slice(&length[..version.prefix_bytes() - 8]);
    bytes.extend_from_slice(text);
    bytes.push(b'\n');
    bytes
}

#[test]
fn headers_are_taken_and_refused_as_numpy_does() {
    const VERSIONS: [Version; 3] = [Version::V1_0, Version::V2_0, Version::V3_0];
    let mut headers = Vec::new();
    for version in VERSIONS {
        headers.extend(HEADER_TEXTS.map(|text| framed(version, text.as_bytes())));
        headers.push(framed(version, "{'descr': [('é', '<f4')], 'fortran_order': False, 'shape': (3,), }".as_bytes()));
        headers.push(framed(version, b"{'descr': [('\xe9', '<f4')], 'fortran_order': False, 'shape': (3,), }"));
    }
    let sound = headers.len();
    // Damage in one to three bytes, most of it with characters that mean something in a literal.
    let mut chance = 88_172_645_463_325_252_u64;
    let mut below = |limit: usize| {
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        usize::try_from(chance % limit as u64).unwrap()
    };
    let alphabet = b"'\"()[]{},:0123456789<>|=ufcSUVMLTrue# \\\n\tx-+_.\0\xff\xe9";
    let dtype =
        Dtype::parse("[('a', '<u2'), (('t', 'b'), [('c', '<f4', (3,)), ('', '|V2')]), ('d', '<M8[25us]')]").unwrap();
    let layouts = [Layout::new(&dtype, &[2]).unwrap(), Layout::new(&Dtype::parse("<f4").unwrap(), &[12, 3]).unwrap()];
    let cases =
        std::env::var("NPY_INGEST_CASES").map_or(6_000, |cases| cases.parse().expect("NPY_INGEST_CASES is a number"));
    for number in 0..cases {
        let mut header = layouts[number % 2].header(10 + number as u64).unwrap();
        if number % 3 == 0 {
            header = framed(VERSIONS[number % 9 / 3], &header[10..header.len() - 1]);
        }
        // The text, and sometimes the prefix.
        let end = header.iter().rposition(|byte| *byte == b'}').unwrap() + 3;
        let start = if below(20) == 0 { 0 } else { 10 };
        for _ in 0..=(below(9) / 4) {
            let offset = start + below(end - start);
            let character = alphabet[below(alphabet.len())];
            match below(4) {
                0 if offset >= 12 && character < 128 => header[offset] ^= 1 << below(7),
                1 if offset >= 12 => header.swap(offset, offset - 1),
                _ => header[offset] = character,
            }
        }
        headers.push(header);
    }
    let folder = tempfile::tempdir().unwrap();
    let mut stream = Vec::new();
    for header in &headers {
        stream.extend_from_slice(&u32::try_from(header.len()).unwrap().to_le_bytes());
        stream.extend_from_slice(header);
    }
    fs::write(folder.path().join("headers"), stream).unwrap();
    let lines = python(
        folder.path(),
        r#"
import io, struct
try:
    from numpy.lib import _format_impl as format
except ImportError:
    from numpy.lib import format
stream = open("headers", "rb").read()
at = 0
while at < len(stream):
    (length,) = struct.unpack_from("<I", stream, at)
    file = io.BytesIO(stream[at + 4 : at + 4 + length])
    at += 4 + length
    try:
        version = format.read_magic(file)
        format._check_version(version)
        shape, fortran, dtype = format._read_array_header(file, version)
        print(str(shape), fortran, repr(format.dtype_to_descr(dtype)), file.tell(), sep="\t")
    except Exception as error:
        print("refused", type(error).__name__, "", "", sep="\t")
"#,
    );
    assert_eq!(lines.len(), headers.len());
    let (mut agreed, mut refused, mut stricter) = (0, 0, 0);
    for (index, (bytes, line)) in headers.iter().zip(&lines).enumerate() {
        let [shape, fortran, descr, data_start] = columns(line);
        let shown = bytes.escape_ascii();
        match Header::parse(bytes) {
            Ok(ours) => {
                assert_ne!(shape, "refused", "NumPy refuses, with {fortran}: {shown}");
                assert_eq!(shape_text(&ours.shape), shape, "{shown}");
                assert_eq!(python_bool(ours.fortran_order), fortran, "{shown}");
                assert_eq!(ours.dtype.literal(), descr, "{shown}");
                assert_eq!(ours.data_start.to_string(), data_start, "{shown}");
                agreed += 1;
            }
            Err(_) if shape == "refused" => refused += 1,
            Err(error) => {
                let meant = match &error {
                    HeaderError::RepeatedKey { .. }
                    | HeaderError::TooLarge { .. }
                    | HeaderError::Dimension { .. }
                    | HeaderError::Subarray { .. } => true,
                    HeaderError::Dtype(error) => is_stricter(error),
                    _ => false,
                };
                assert!(meant, "NumPy reads {line:?}, and we refuse ({error}): {shown}");
                stricter += 1;
            }
        }
        if index + 1 == sound {
            assert!(agreed > 40 && refused > 60, "{agreed} agreed, {refused} refused, {stricter} stricter");
        }
    }
    assert!(
        agreed > cases / 20 && refused > cases / 2 && stricter < cases / 50,
        "{agreed} agreed, {refused} refused, {stricter} stricter"
    );
}
