import { defineConfig } from 'drizzle-kit'

/** `npx drizzle-kit generate --name what-changed` writes the next migration; `control-plane/store/README.md`. */
export default defineConfig({
  dialect: 'sqlite',
  schema: './control-plane/store/schema.ts',
  out: './control-plane/store/migrations',
  casing: 'snake_case',
})
