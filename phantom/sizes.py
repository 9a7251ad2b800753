"""Sizes of organelles and their parts, in nanometres, each with its source.

Sources by short name:

* Alberts: Alberts et al., Molecular Biology of the Cell, 6th ed. (2015), chapters 1, 10, 12, 14.
* Robertson: Robertson, Biochem. Soc. Symp. 16 (1959): the unit membrane is 7.5 nm wide.
* Shibata: Shibata et al., Cell 143 (2010): mammalian ER tubules 50-60 nm wide, sheets about 50 nm.
* Perkins: Perkins et al., J. Struct. Biol. 119 (1997): mitochondrial envelope 22 nm, cristae 20-30
  nm wide, junctions about 28 nm.
* Maul: Maul and Deaven, J. Cell Biol. 73 (1977): about 8-12 pores per square micrometre.
* von Appen: von Appen et al., Nature 526 (2015): human pore, outer diameter about 120 nm, channel
  about 43 nm.
* methods: the constants that the published analysis of Heinrich et al., Nature 599 (2021) uses
  (microtubules drawn with radii 6 and 12.5 nm; ribosomes as spheres of 10 nm).
* Anger: Anger et al., Nature 497 (2013): the human 80S ribosome is 25-32 nm across.
* Winey: Winey and O'Toole, Phil. Trans. R. Soc. B 369 (2014): centriole 230 nm wide, 450 nm long.
* Kukat: Kukat et al., PNAS 108 (2011): nucleoids are about 100 nm across.
* Ladinsky: Ladinsky et al., J. Cell Biol. 144 (1999): Golgi cisternae, 4-7 a stack, 20-30 nm wide.
* Posor: vesicles of the secretory path 50-80 nm across (Alberts, chapter 13).
* Huotari: Huotari and Helenius, EMBO J. 30 (2011): late endosomes 250-1000 nm across,
  intraluminal vesicles 50-100 nm; lysosomes 200-500 nm and more.
* Fujimoto: Fujimoto and Parton, CSHL Perspect. Biol. 3 (2011): droplets from 100 nm up.
* Collins: Collins et al., EMBO J. 21 (2002): mitochondria of HeLa cells, 0.3-0.5 um wide.
"""

MEMBRANE = 7.0  # Robertson, rounded down to what is stained
MIN_DRAWN_VOXELS = 1.75  # labels draw a membrane at least this wide; thinner ones have holes
ENVELOPE_LUMEN = 30.0  # Alberts: perinuclear space 20-40 nm
ENVELOPE = 2 * MEMBRANE + ENVELOPE_LUMEN
NUCLEUS = 4500.0  # mean radius; HeLa nuclei are 8-10 um across (Maul)
CELL = 9500.0  # radius of the curve of the plasma membrane; HeLa cells are 15-20 um (Alberts)
NUCLEOLUS = (250.0, 1100.0)  # radius; 0.5-2 um across and more (Alberts)
PORES_PER_UM2 = 10.0  # Maul
PORE_HOLE = 42.0  # radius where the two membranes meet (von Appen)
PORE_OUT = 60.0  # outer radius (von Appen)
PORE_RIM = PORE_HOLE + ENVELOPE / 2  # where the rounded rim ends
PORE_IN = 21.0  # radius of the channel (von Appen)
PORE_GAP = 150.0  # centre to centre: neighbours are rarely closer (Maul)
HETEROCHROMATIN = 70.0  # depth of the layer at the envelope; 50-150 nm in micrographs (Alberts)

MITO_RADIUS = (140.0, 230.0)  # Collins
MITO_LENGTH = (900.0, 5000.0)  # Collins: from short rods to long branching tubes
MITO_OUTER, MITO_SPACE, MITO_INNER = 6.5, 8.0, 6.5  # Perkins: 21 nm in all
CRISTA = 22.0  # width with both membranes (Perkins)
CRISTA_MEMBRANE = 6.0
CRISTA_STEP = 64.0  # one crista to the next; 50-100 nm in micrographs (Perkins)
NUCLEOID = 50.0  # radius (Kukat)
NUCLEOID_STEP = 900.0  # one to the next along a tube; hundreds per cell (Kukat)

ER_TUBULE = 29.0  # radius (Shibata)
ER_SHEET = 26.0  # half the width (Shibata)
ER_SHEET_RADIUS = (260.0, 900.0)
ER_SHEET_STEP = 130.0  # a stack of sheets, one to the next (Shibata: 80-150 nm)
ER_BLEND = 14.0  # rounding where three tubules meet
ERES = 130.0  # radius of an exit site: 200-500 nm across (Alberts)

GOLGI_HALF = 12.0  # half the width of a cisterna (Ladinsky)
GOLGI_STEP = 38.0  # one cisterna to the next
GOLGI_RADIUS = (230.0, 480.0)
GOLGI_CISTERNAE = (4, 7)  # Ladinsky

VESICLE = (24.0, 40.0)  # radius, membrane included (Posor)
MVB = (130.0, 260.0)  # radius (Huotari)
ILV = 36.0  # largest radius of an intraluminal vesicle, the smallest has 0.7 of it (Huotari)
LYSOSOME = (110.0, 240.0)  # radius (Huotari)
DROPLET = (90.0, 260.0)  # radius (Fujimoto)
DROPLET_SHELL = 4.0  # one layer of lipid, not two (Fujimoto)

TUBULE_OUT, TUBULE_IN = 12.5, 6.0  # methods
CENTRIOLE, CENTRIOLE_LENGTH = 115.0, 450.0  # Winey
APPENDAGE = 110.0  # length of an appendage (Winey)
RIBOSOME = 12.5  # radius (Anger)
