-- Builds came from Dockerfiles alone.
UPDATE builds SET spec = json_set(spec, '$.kind', 'dockerfile') WHERE json_extract(spec, '$.kind') IS NULL;
