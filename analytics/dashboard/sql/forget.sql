DELETE FROM calls WHERE list_contains($files, file)
