"""Texts that others wrote, each escaped for where it goes: none can say more there than what it says."""


def protobuf_text(text: str) -> str:
    """A string of protobuf's text format, in its quotes: what is not plain is in octal bytes.

    https://protobuf.dev/reference/protobuf/textformat-spec/#string
    """
    plain = (chr(byte) if 32 <= byte < 127 and chr(byte) not in "\"'\\" else f"\\{byte:03o}" for byte in text.encode())
    return f'"{"".join(plain)}"'
