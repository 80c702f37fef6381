ALTER TABLE `builds` ADD `observed_commit` text;--> statement-breakpoint
-- Dockerfiles were built from uploaded contexts alone.
UPDATE builds SET spec = json_remove(json_set(spec, '$.source', json_object('kind', 'context', 'contextId', spec ->> '$.contextId')), '$.contextId')
WHERE spec ->> '$.kind' = 'dockerfile' AND spec ->> '$.contextId' IS NOT NULL;
