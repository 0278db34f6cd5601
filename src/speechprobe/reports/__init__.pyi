from .chroma import export_chroma as export_chroma
from .page import html as html
