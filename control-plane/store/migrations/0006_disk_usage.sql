ALTER TABLE `containers` ADD `observed_writable_bytes` integer;--> statement-breakpoint
ALTER TABLE `containers` ADD `observed_virtual_bytes` integer;--> statement-breakpoint
ALTER TABLE `hosts` ADD `observed_disk` text;