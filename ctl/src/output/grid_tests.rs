//! Tables on screens of several widths.

use insta::assert_snapshot;

use super::super::style::Style;
use super::*;

/// Nodes that were put aside, by people who write Chinese.
fn remarks() -> Table {
    let row = |name: &str, reason: &str, takes: &str| {
        [name.to_owned(), "drained".to_owned(), takes.to_owned(), reason.to_owned()]
    };
    let rows = vec![
        row(
            "node/aliyun-上海-1",
            "磁盘告警，更换硬盘后恢复，预计今晚十点前完成",
            "aliyun-1/web,aliyun-1/dvn",
        ),
        row("node/aws-1", "kernel", "aws-1/web"),
    ];
    table(["PLACE", "STATE", "TAKES", "REASON"], rows, "no drains").cut(&["TAKES", "REASON"])
}

fn on(width: usize) -> Look {
    Look { style: Style { width: Some(width), ..Style::PLAIN }, ..Look::PLAIN }
}

#[test]
fn free_text_gives_way_on_a_narrow_screen_and_names_never() {
    assert_snapshot!(remarks().render(on(60)));
    assert_snapshot!(remarks().render(on(80)));
    assert_snapshot!(remarks().render(on(120)));
    for width in [60, 80, 120] {
        let text = remarks().render(on(width));
        assert!(text.lines().all(|line| line.width() <= width), "{text}");
        assert!(text.contains("node/aliyun-上海-1 "), "{text}");
    }
}

#[test]
fn a_screen_too_narrow_for_names_shows_them_whole() {
    let text = remarks().render(on(20));
    assert!(text.contains("node/aliyun-上海-1  drained"), "{text}");
    assert!(text.lines().nth(1).unwrap().contains('…'), "{text}");
}

#[test]
fn columns_stand_below_each_other_by_their_width_on_the_screen() {
    let text = remarks().to_string();
    let at = |line: &str, word: &str| line[..line.find(word).unwrap()].width();
    let states: Vec<_> = text.lines().skip(1).map(|line| at(line, "drained")).collect();
    assert_eq!(states, [20, 20]);
}

#[test]
fn wide_has_more_columns_and_cuts_nothing() {
    let wide = Look { wide: true, ..on(60) };
    let table = remarks().wide(&["TAKES"]);
    assert!(!table.render(on(200)).contains("TAKES"));
    assert!(table.render(wide).contains("aliyun-1/web,aliyun-1/dvn"));
    assert!(!table.render(wide).contains('…'));
}

#[test]
fn chinese_headings_stand_above_their_columns() {
    let chinese = Look { lang: crate::lang::Lang::Zh, ..on(80) };
    assert_snapshot!(remarks().render(chinese));
}

#[test]
fn rows_are_neither_wrapped_nor_padded_at_the_end() {
    let long = "x".repeat(300);
    let text = table(["NAME", "STATE"], vec![["a".into(), long.clone()]], "none").to_string();
    assert_eq!(text, format!("NAME  STATE\na     {long}"));
    assert_eq!(table(["NAME"], Vec::new(), "no nodes").to_string(), "no nodes");
}

#[test]
fn a_cell_ends_no_row_and_moves_no_cursor() {
    let rows = vec![["a\nb\x1b[2J".to_owned(), "c".to_owned()]];
    let text = table(["NAME", "X"], rows, "").to_string();
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(!text.contains('\x1b'), "{text}");
}

#[test]
fn cut_text_ends_before_a_character_that_does_not_fit() {
    assert_eq!(fitting("升级完成", 8), "升级完成");
    assert_eq!(fitting("升级完成", 7), "升级完…");
    assert_eq!(fitting("升级完成", 6), "升级…");
    assert_eq!(fitting("abc", 1), "…");
}
