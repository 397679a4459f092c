"""Cold records: predictions that are older than the hot window, in Parquet files with their outcomes joined.

``form`` says which columns a file has, ``cold`` reads and writes the files, ``shelf`` keeps the list of them in the
database, ``sealing`` takes rows out of the database, ``thawing`` brings back those that something new is told of,
``asking`` answers questions about old windows, and ``upkeep`` merges, erases and forgets.

Every record is in exactly one place: its hot rows are deleted in the transaction that lists its file, and a row that is
thawed is struck out in the transaction that inserts its hot rows. Files are written before they are listed and removed
after they are not, so whatever a killed process leaves is a file that nobody reads, which the next run removes.
"""
