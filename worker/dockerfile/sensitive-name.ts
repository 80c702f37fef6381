const SENSITIVE = /(?:^|_)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|$)/i
const PUBLIC = /(?:^|_)(?:public)(?:_|$)/i

/** Whether a variable's name says that its value is a secret (BuildKit's check SecretsUsedInArgOrEnv). Pure. */
export function isSensitiveName(name: string): boolean {
  return SENSITIVE.test(name) && !PUBLIC.test(name)
}
