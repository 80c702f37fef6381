import { z } from 'zod'
import { SlipwayError } from '#shared/errors.ts'

/** Where a page in the order of creation ended. */
export const timePositionSchema = z.strictObject({ createdAt: z.number(), id: z.string() })

/** Cursors are opaque to clients: where the page before ended, in URL-safe base64. */
export function encodeCursor(position: unknown): string {
  return btoa(JSON.stringify(position)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
}

export function decodeCursor<T>(cursor: string | undefined, first: T, schema: z.ZodType<T>): T {
  if (cursor === undefined) return first
  try {
    return schema.parse(JSON.parse(atob(cursor.replaceAll('-', '+').replaceAll('_', '/'))))
  } catch {
    // Falls through to the one answer for all bad cursors.
  }
  throw new SlipwayError(
    'cursor.invalid',
    'This cursor is not one of ours: take `nextCursor` of the page before as it is.',
  )
}

/** A page in the order of a name, of which each row has another; `fetch` gets the name that the page before ended with, at first ''. */
export function pageByName<Row, View>(
  { limit, cursor }: { limit: number; cursor: string | undefined },
  fetch: (after: string, limit: number) => Promise<Row[]>,
  view: (row: Row) => View,
  nameOf: (row: Row) => string,
) {
  const after = decodeCursor(cursor, '', z.string())
  return page(limit, count => fetch(after, count), view, nameOf)
}

/** Asks for one more than the page holds, to know whether another page follows. */
export async function page<Row, View>(
  limit: number,
  fetch: (limit: number) => Promise<Row[]>,
  view: (row: Row) => View,
  positionOf: (row: Row) => unknown,
): Promise<{ items: View[]; nextCursor?: string }> {
  const rows = await fetch(limit + 1)
  const last = rows.length > limit ? rows[limit - 1] : undefined
  const items = rows.slice(0, limit).map(view)
  return last === undefined ? { items } : { items, nextCursor: encodeCursor(positionOf(last)) }
}
