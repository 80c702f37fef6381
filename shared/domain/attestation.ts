import { z } from 'zod'
import { digestSchema } from '../digest.ts'

/** The payload of an attestation, and the artifact type of the manifest that ties it to an image (in-toto attestation, "Media types"). */
export const IN_TOTO = 'application/vnd.in-toto+json'
/** Says in a list of referrers what each holds, as BuildKit's attestation storage has it. */
export const PREDICATE_ANNOTATION = 'in-toto.io/predicate-type'
export const PREDICATES = { provenance: 'https://slsa.dev/provenance/v1', sbom: 'https://spdx.dev/Document' } as const
/** OCI image-spec, "Guidance for an Empty Descriptor". */
export const EMPTY_CONFIG = {
  mediaType: 'application/vnd.oci.empty.v1+json',
  text: '{}',
} as const

/** What a build of a Dockerfile says about its image, in the words of `docker buildx build`. */
export const attestationFields = {
  provenance: z
    .union([z.boolean(), z.enum(['min', 'max'])])
    .default(false)
    .meta({
      description:
        'SLSA provenance beside the image: `true` is `min`; `max` has values of ARGs and the Dockerfile, too',
    }),
  sbom: z.boolean().default(false).meta({ description: 'A list of the packages in the image (SPDX) beside it' }),
}

/** An attestation that was published: the digest is of its manifest, a referrer of the image. */
export const attestationSchema = z.object({ predicateType: z.string().max(255), digest: digestSchema })
export type Attestation = z.infer<typeof attestationSchema>
