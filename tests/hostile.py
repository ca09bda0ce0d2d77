"""Texts that people, or their scripts, paste into any field that takes one."""

HOSTILE_TEXTS: tuple[str, ...] = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "</textarea></pre></script><h1>hello</h1>",
    "&lt;b&gt; &amp; &#60;",
    "{{7*7}} {% raw %} <%= 7*7 %>",
    "${alert(1)} `${7*7}`",
    "{0.__class__} %s %n {url}",
    "$x^2$ \\frac{1}{0} $$",
    "'; DROP TABLE models; -- \" OR 1=1",
    "../../../../etc/passwd",
    "..\\..\\windows\\win.ini C:\\con",
    "file:///etc/passwd http://169.254.169.254/",
    "\u202eevil\u202c \u2066hidden\u2069 \u200fright\u200e",  # bidi marks
    "zero\u200bwidth\u200djoined\ufeff\u2060",
    "👩‍👩‍👧‍👦 🏴󠁧󠁢󠁳󠁣󠁴󠁿 🇪🇺 𝔘𝔫𝔦𝔠𝔬𝔡𝔢",  # four bytes a character in UTF-8
    "Z̸̢̛͎̤̲a̷͇͌̽l̴̡̨̛g̵̨̛o̶̧̢̩" + "\u0301" * 50,  # combining marks
    "null\x00byte \x07bell \x1b[31mred\x7f",
    "lone \ud800 surrogates \udfff",
    "line\r\nfeeds\u2028and\u2029separators\x85\t",
    "你好 مرحبا नमस्ते שלום",
    "<|endoftext|> [INST] </s> <bos>",
    "NaN Infinity -0 1e999 true null undefined",
    "x" * 3000,
)
TOO_LONG = "a" * 10_000_000


def short(value: object) -> str:
    """A test's name for such a value."""
    return "a huge number" if isinstance(value, int) and abs(value) > 10**40 else ascii(value)[:30]
