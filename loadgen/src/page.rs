//! One self-contained HTML page: style inside, pictures inside, nothing fetched.

use std::fmt::{Display, Write as _};

use crate::chart::Picture;

/// A page that is being written from top to bottom.
#[derive(Debug)]
pub(crate) struct Page {
    title: String,
    body: String,
}

/// A cell of a table.
#[derive(Clone, Debug)]
pub(crate) enum Cell {
    /// Words, to the left.
    Text(String),
    /// A figure, to the right.
    Number(String),
    /// A part of a whole, 0 to 1, as a bar with its per cent; beyond the whole it is full and red.
    Part(f64),
}

const STYLE: &str = "\
:root{color-scheme:light}\
body{font:16px/1.5 system-ui,sans-serif;color:#1a1a1a;background:#fff;max-width:62rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.5rem;margin-bottom:.2rem}h2{font-size:1.15rem;margin:2rem 0 .5rem}\
figure{margin:0}figure svg{width:100%;height:auto}.narrow{display:none}\
@media(max-width:40rem){.narrow{display:block}.wide{display:none}}\
.table{overflow-x:auto}\
table{border-collapse:collapse;margin:.5rem 0;font-variant-numeric:tabular-nums}\
th,td{padding:.2rem .9rem .2rem 0;text-align:left;border-bottom:1px solid #ddd;vertical-align:top}\
th.n,td.n{text-align:right}td.n,td.p{white-space:nowrap}\
.note{color:#555}.warning{border-left:4px solid #d55e00;padding-left:.7rem}\
.bar{display:inline-block;width:8rem;height:.8em;background:#e8e8e8;margin-right:.5rem}\
.bar i{display:block;height:100%;background:#0072b2}.bar i.over{background:#d55e00}";

impl Page {
    /// A page that begins with its title.
    pub(crate) fn new(title: &str) -> Self {
        Self { title: title.to_owned(), body: format!("<h1>{}</h1>\n", escape(title)) }
    }

    /// A heading of a part.
    pub(crate) fn heading(&mut self, text: &str) {
        self.add(format_args!("<h2>{}</h2>", escape(text)));
    }

    /// A paragraph of explanation.
    pub(crate) fn note(&mut self, text: &str) {
        self.add(format_args!("<p class=\"note\">{}</p>", escape(text)));
    }

    /// A paragraph that must not be overlooked.
    pub(crate) fn warning(&mut self, text: &str) {
        self.add(format_args!("<p class=\"warning\">{}</p>", escape(text)));
    }

    /// A picture, if there is one.
    pub(crate) fn figure(&mut self, picture: Option<Picture>) {
        match picture {
            Some(Picture { wide, narrow }) => {
                self.add(format_args!("<figure class=\"wide\">{}</figure>", scalable(&wide)));
                self.add(format_args!("<figure class=\"narrow\">{}</figure>", scalable(&narrow)));
            }
            None => self.note("Nothing was measured that could be drawn."),
        }
    }

    /// A table; a column of figures is one whose first cell is a figure.
    pub(crate) fn table(&mut self, heads: &[&str], rows: &[Vec<Cell>]) {
        self.body.push_str("<div class=\"table\"><table>\n<tr>");
        for (column, head) in heads.iter().enumerate() {
            let figures = rows.first().and_then(|row| row.get(column)).is_some_and(Cell::is_number);
            let class = if figures { " class=\"n\"" } else { "" };
            self.put(format_args!("<th{class}>{}</th>", escape(head)));
        }
        self.body.push_str("</tr>\n");
        for row in rows {
            self.body.push_str("<tr>");
            row.iter().for_each(|cell| self.body.push_str(&cell.html()));
            self.body.push_str("</tr>\n");
        }
        self.body.push_str("</table></div>\n");
    }

    /// The whole page.
    pub(crate) fn finish(self) -> String {
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
             content=\"width=device-width\">\n<title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{}<p \
             class=\"note\">ntpload {}</p>\n</body>\n</html>\n",
            escape(&self.title),
            self.body,
            env!("CARGO_PKG_VERSION")
        )
    }

    fn add(&mut self, text: impl Display) {
        self.put(text);
        self.body.push('\n');
    }

    fn put(&mut self, text: impl Display) {
        // Writing to a String cannot fail.
        let _ = write!(self.body, "{text}");
    }
}

impl Cell {
    fn is_number(&self) -> bool {
        matches!(self, Self::Number(_))
    }

    fn html(&self) -> String {
        match self {
            Self::Text(text) => format!("<td>{}</td>", escape(text)),
            Self::Number(text) => format!("<td class=\"n\">{}</td>", escape(text)),
            Self::Part(part) => {
                let class = if *part > 1.0 { " class=\"over\"" } else { "" };
                let (width, percent) = (100.0 * part.clamp(0.0, 1.0), 100.0 * part);
                format!(
                    "<td class=\"p\"><span class=\"bar\"><i{class} style=\"width:{width:.1}%\"></i></span>{percent:.1} %</td>"
                )
            }
        }
    }
}

/// A picture that fills its place: without a size of its own.
fn scalable(svg: &str) -> String {
    let (head, rest) = svg.split_at(svg.find('>').unwrap_or(0));
    let kept = |attribute: &&str| !attribute.starts_with("width=") && !attribute.starts_with("height=");
    // Only the viewBox has spaces inside, and it is not the size.
    format!("{}{rest}", head.split(' ').filter(kept).collect::<Vec<_>>().join(" "))
}

/// Text that is no markup.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_never_markup() {
        let mut page = Page::new("a < b & \"c\"");
        page.table(&["<x>"], &[vec![Cell::Text("<script>".to_owned())]]);
        let html = page.finish();
        assert!(html.contains("a &lt; b &amp; &quot;c&quot;") && html.contains("&lt;script&gt;"), "{html}");
        assert!(!html.contains("<script"), "{html}");
    }

    #[test]
    fn pictures_fit_the_page_and_nothing_is_fetched() {
        let mut page = Page::new("t");
        let svg = "<svg width=\"9\" height=\"8\" viewBox=\"0 0 9 8\"><g width=\"1\"/></svg>";
        page.figure(Some(Picture { wide: svg.to_owned(), narrow: svg.to_owned() }));
        let html = page.finish();
        for window in ["wide", "narrow"] {
            let figure = format!(
                "<figure class=\"{window}\"><svg viewBox=\"0 0 9 8\"><g width=\"1\"/></svg></figure>"
            );
            assert!(html.contains(&figure), "{html}");
        }
        for fetched in ["src=", "href=", "url(", "@import"] {
            assert!(!html.contains(fetched), "{fetched} in {html}");
        }
    }

    #[test]
    fn bars_stay_within_their_whole() {
        assert!(Cell::Part(0.25).html().contains("width:25.0%\"></i></span>25.0 %"));
        assert!(Cell::Part(2.0).html().contains("class=\"over\" style=\"width:100.0%\"></i></span>200.0 %"));
    }
}
