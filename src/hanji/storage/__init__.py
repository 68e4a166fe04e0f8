"""The database: what people write (keys, aliases, feedback) and, where asked for, what they asked a model.

```python
from hanji.storage.database import Database
from hanji.storage.keys import Keys
from hanji.storage.location import database_url

with Database.open(database_url(Path("runs"))) as database:
    key = Keys(database).check(token)
```
"""
