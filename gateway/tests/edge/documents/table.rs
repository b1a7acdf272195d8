//! The tables of the pages in docs/.

/// The cells of each row of the first table under a line that begins with `heading`.
pub(crate) fn rows(page: &str, heading: &str) -> Vec<Vec<String>> {
    let lines = page.lines().skip_while(|line| !line.starts_with(heading)).skip(1);
    let table = lines.skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    // Not the names of the columns and the line below them.
    table.skip(2).map(cells).collect()
}

/// All numbers of three digits or more in a text.
pub(crate) fn numbers(text: &str) -> Vec<u32> {
    let digits = text.split(|letter: char| !letter.is_ascii_digit()).filter(|digits| digits.len() >= 3);
    digits.filter_map(|digits| digits.parse().ok()).collect()
}

#[test]
fn a_table_is_read_up_to_its_end() {
    let page = "## A\n| 1 |\n## B\ntext\n| code | why |\n| --- | --- |\n| 1000, 1001 | a |\n| none (1006) | |\n\n| 7 | 8 |\n";
    assert_eq!(rows(page, "## B"), [["1000, 1001", "a"], ["none (1006)", ""]]);
    assert!(rows(page, "## C").is_empty());
    assert_eq!(numbers("1000, 1001 after 60 s"), [1000, 1001]);
}
