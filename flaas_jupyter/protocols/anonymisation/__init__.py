"""Rows that may be released: k-anonymity and l-diversity by generalisation (Mondrian), and what risk is left.

k-anonymity (Samarati and Sweeney 1998; Sweeney 2002): of the attributes that somebody could know, the
quasi-identifiers, every combination occurs k times at least. l-diversity (Machanavajjhala et al., TKDD 2007): in each
such class the sensitive attribute has l values that are well represented. Rows are divided region by region
(LeFevre, DeWitt and Ramakrishnan, ICDE 2006), and a region's values are told as one interval, set or ancestor.
"""

from .attributes import Attribute, Categorical, Ordered
from .hierarchy import Hierarchy
from .mondrian import Partition, divide
from .requirement import Requirement
from .risk import RiskFigures, risk_figures

__all__ = [
    "Attribute",
    "Categorical",
    "Hierarchy",
    "Ordered",
    "Partition",
    "Requirement",
    "RiskFigures",
    "divide",
    "risk_figures",
]
