from .crepe import Crepe as Crepe
