import { imageConfigSchema } from '#shared/domain/image.ts'

/** A configuration as its exact text, and what placement asks of it. */
export interface RunnableImage {
  text: string
  architecture: string
  os: string
  variant: string | null
}

/** Undefined for a configuration that is none of an image: artifacts borrow the media type, too. */
export function runnableImage(text: string): RunnableImage | undefined {
  try {
    const { architecture, os, variant } = imageConfigSchema.parse(JSON.parse(text))
    return { text, architecture, os, variant: variant ?? null }
  } catch {
    return undefined
  }
}
