{"Job": {"ID": "api", "TaskGroups": []}}
