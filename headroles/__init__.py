"""headroles: which attention heads of a language model do which job, and which of them are doing it on your sentence."""

from headroles.attention import Attention as Attention
from headroles.attention import Head as Head
from headroles.errors import HeadRolesError as HeadRolesError
from headroles.explorer import Explorer as Explorer
from headroles.explorer import get_active_head_summary as get_active_head_summary
from headroles.readings import Analysis as Analysis
from headroles.roles import ROLES as ROLES
from headroles.scoring import verify_head_activation as verify_head_activation
from headroles.store import load_head_categories as load_head_categories
