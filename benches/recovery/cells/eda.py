# %%
import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

# %%
rng = np.random.default_rng(7)
n = 300_000
orders = pd.DataFrame(
    {
        "order": np.arange(n),
        "when": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 730 * 24 * 3600, n), unit="s"),
        "customer": rng.integers(0, 20_000, n),
        "product": rng.integers(0, 400, n),
        "units": rng.poisson(2, n) + 1,
        "channel": rng.choice(["web", "shop", "phone"], n, p=[0.6, 0.3, 0.1]),
    }
)
products = pd.DataFrame(
    {
        "product": np.arange(400),
        "price": np.round(rng.lognormal(3, 0.6, 400), 2),
        "family": rng.choice(list("ABCDEFGH"), 400),
    }
)
# %%
orders.head()
# %%
orders.info(memory_usage="deep")
# %%
sales = orders.merge(products, on="product")
sales["revenue"] = sales.units * sales.price
# %%
sales.loc[sales.sample(frac=0.01, random_state=1).index, "revenue"] = np.nan
missing = sales.isna().mean()
# %%
sales["revenue"] = sales.revenue.fillna(sales.groupby("family").revenue.transform("median"))
# %%
sales["month"] = sales.when.dt.to_period("M")
monthly = sales.groupby("month").revenue.sum()
# %%
by_family = sales.pivot_table(index="month", columns="family", values="revenue", aggfunc="sum")
# %%
figure, axes = plt.subplots(figsize=(8, 3))
by_family.plot(ax=axes, legend=False)
plt.close(figure)
# %%
per_customer = sales.groupby("customer").agg(spend=("revenue", "sum"), orders=("order", "count"), last=("when", "max"))
# %%
per_customer["segment"] = pd.qcut(per_customer.spend, 4, labels=["low", "mid", "high", "top"])
# %%
segments = per_customer.groupby("segment", observed=True).spend.describe()
# %%
top_products = sales.groupby("product").revenue.sum().nlargest(20)
# %%
rolling = sales.set_index("when").revenue.resample("D").sum().rolling(28).mean()
# %%
correlations = sales[["units", "price", "revenue"]].corr()
# %%
outliers = sales[sales.revenue > sales.revenue.quantile(0.999)]
# %% element
sales.loc[5, "revenue"] = 1.0
# %%
cohort = sales.groupby("customer").when.min().dt.to_period("Q").rename("cohort")
joined = sales.join(cohort, on="customer")
# %%
retention = joined.groupby(["cohort", "month"]).customer.nunique().unstack()
# %%
notes = {"rows": len(sales), "best": top_products.index[0], "channels": sales.channel.value_counts().to_dict()}
# %%
summary = (round(float(monthly.sum()), 2), notes)
