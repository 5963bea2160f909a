// SPDX-License-Identifier: GPL-2.0-only
/* The firmware's token table and what the interface says of each token. */
#include <linux/dmi.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/unaligned.h>
#include "dsmil_c.h"

struct dsmil_token *dsmil_c_tokens;
struct dsmil_c_token *dsmil_c_values;
u32 dsmil_c_count, dsmil_c_devices, dsmil_c_readable;
DECLARE_RWSEM(dsmil_c_seal);

/* Tokens that are never written; the first range that has an id names the rule. */
static const struct {
	u16 first, last, rule;
} denied[] = {
	{ 0x8009, 0x800b, DSMIL_RULE_QUARANTINE }, { 0x8019, 0x8019, DSMIL_RULE_QUARANTINE },
	{ 0x8029, 0x8029, DSMIL_RULE_QUARANTINE }, { 0x8004, 0x8004, DSMIL_RULE_POWER },
	{ 0x0436, 0x0437, DSMIL_RULE_DESTRUCTIVE }, { 0xa000, 0xa003, DSMIL_RULE_DESTRUCTIVE },
	{ 0x0058, 0x0059, DSMIL_RULE_UPSTREAM }, { 0x007d, 0x007d, DSMIL_RULE_UPSTREAM },
	{ 0x00cd, 0x00d0, DSMIL_RULE_UPSTREAM }, { 0x013a, 0x01ff, DSMIL_RULE_UPSTREAM },
	{ 0x027d, 0x0284, DSMIL_RULE_UPSTREAM }, { 0x02e3, 0x02e3, DSMIL_RULE_UPSTREAM },
	{ 0x02ea, 0x02ec, DSMIL_RULE_UPSTREAM }, { 0x02f6, 0x02f6, DSMIL_RULE_UPSTREAM },
	{ 0x02ff, 0x0302, DSMIL_RULE_UPSTREAM }, { 0x0325, 0x0326, DSMIL_RULE_UPSTREAM },
	{ 0x0332, 0x0335, DSMIL_RULE_UPSTREAM }, { 0x0350, 0x0350, DSMIL_RULE_UPSTREAM },
	{ 0x0363, 0x0365, DSMIL_RULE_UPSTREAM }, { 0x0368, 0x0368, DSMIL_RULE_UPSTREAM },
	{ 0x03f6, 0x03f7, DSMIL_RULE_UPSTREAM }, { 0x0451, 0x0451, DSMIL_RULE_UPSTREAM },
	{ 0x049e, 0x04a3, DSMIL_RULE_UPSTREAM }, { 0x04e6, 0x04e7, DSMIL_RULE_UPSTREAM },
	{ 0x4000, 0x7fff, DSMIL_RULE_UPSTREAM }, { 0x9000, 0x9001, DSMIL_RULE_UPSTREAM },
	{ 0xa000, 0xbfff, DSMIL_RULE_UPSTREAM }, { 0xeff0, 0xefff, DSMIL_RULE_UPSTREAM },
};

/* Index of the token, or -ENOENT. */
int dsmil_c_find(u16 id)
{
	u32 low = 0, high = dsmil_c_count;

	while (low < high) {
		u32 middle = low + (high - low) / 2;
		u16 found = dsmil_c_tokens[middle].id;

		if (found == id)
			return middle;
		if (found < id)
			low = middle + 1;
		else
			high = middle;
	}
	return -ENOENT;
}

/* Takes the tokens of one structure of type 0xDA: 11 bytes of head, then id, location and value of each. */
static void parse(const struct dmi_header *header, void *unused)
{
	const u8 *bytes = (const u8 *)header;
	u32 at;

	if (header->type != 0xda)
		return;
	for (at = 11; at + 6 <= header->length && dsmil_c_count < DSMIL_C_TOKENS_MAX; at += 6) {
		struct dsmil_token token = {
			.id = get_unaligned_le16(bytes + at),
			.location = get_unaligned_le16(bytes + at + 2),
			.value = get_unaligned_le16(bytes + at + 4),
			.group = DSMIL_NO_DEVICE,
			.member = DSMIL_NO_DEVICE,
		};

		/* The end, and what dell-smbios has crossed out as a duplicate. */
		if (token.id != 0xffff && token.id != 0)
			dsmil_c_tokens[dsmil_c_count++] = token;
	}
}

static void describe(struct dsmil_token *token)
{
	u16 offset = token->id - 0x8000;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(denied) && !token->rule; i++)
		if (token->id >= denied[i].first && token->id <= denied[i].last)
			token->rule = denied[i].rule;
	if (token->id >= 0x8000 && offset / 0x10 < 7 && offset % 0x10 < 12) {
		token->group = offset / 0x10;
		token->member = offset % 0x10;
		token->flags |= DSMIL_TOKEN_DEVICE;
		dsmil_c_devices++;
	}
	/* The others are write-only. */
	if (token->id < 0xa000 || token->id > 0xbfff) {
		token->flags |= DSMIL_TOKEN_READABLE;
		dsmil_c_readable++;
	}
}

/* Joins the tokens of each location to a ring; where one of them is denied, all are. */
static void join(void)
{
	u32 i, k;

	for (i = 0; i < dsmil_c_count; i++)
		dsmil_c_values[i].companion = i;
	for (i = 0; i < dsmil_c_count; i++) {
		for (k = i + 1; k < dsmil_c_count; k++) {
			struct dsmil_token *a = &dsmil_c_tokens[i], *b = &dsmil_c_tokens[k];

			if (a->location != b->location)
				continue;
			if (dsmil_c_values[k].companion == k) {
				dsmil_c_values[k].companion = dsmil_c_values[i].companion;
				dsmil_c_values[i].companion = k;
			}
			a->flags |= DSMIL_TOKEN_SHARED;
			b->flags |= DSMIL_TOKEN_SHARED;
			if (a->rule && !b->rule)
				b->rule = DSMIL_RULE_SHARED_LOCATION;
			if (b->rule && !a->rule)
				a->rule = DSMIL_RULE_SHARED_LOCATION;
		}
	}
	for (i = 0; i < dsmil_c_count; i++)
		if (dsmil_c_tokens[i].rule)
			dsmil_c_tokens[i].flags |= DSMIL_TOKEN_DENIED;
}

static int by_id(const void *a, const void *b)
{
	return ((const struct dsmil_token *)a)->id - ((const struct dsmil_token *)b)->id;
}

int dsmil_c_table_init(void)
{
	u32 i, kept = 0;

	dsmil_c_tokens = kvcalloc(DSMIL_C_TOKENS_MAX, sizeof(*dsmil_c_tokens), GFP_KERNEL);
	if (!dsmil_c_tokens)
		return -ENOMEM;
	dmi_walk(parse, NULL);
	if (!dsmil_c_count) {
		dsmil_c_table_exit();
		return -ENODEV;
	}
	sort(dsmil_c_tokens, dsmil_c_count, sizeof(*dsmil_c_tokens), by_id, NULL);
	for (i = 0; i < dsmil_c_count; i++)
		if (!i || dsmil_c_tokens[i].id != dsmil_c_tokens[kept - 1].id)
			dsmil_c_tokens[kept++] = dsmil_c_tokens[i];
	dsmil_c_count = kept;
	dsmil_c_values = kvcalloc(kept, sizeof(*dsmil_c_values), GFP_KERNEL);
	if (!dsmil_c_values) {
		dsmil_c_table_exit();
		return -ENOMEM;
	}
	for (i = 0; i < kept; i++)
		describe(&dsmil_c_tokens[i]);
	join();
	return 0;
}

void dsmil_c_table_exit(void)
{
	kvfree(dsmil_c_values);
	kvfree(dsmil_c_tokens);
}
